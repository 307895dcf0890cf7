//! TLS: what has to be given, and what is said where something is wrong.

use super::Plain;
use crate::servers::tls;

#[tokio::test]
async fn the_authority_alone_is_enough() {
    tls::the_authority_alone_is_enough::<Plain>().await;
}

#[tokio::test]
async fn a_certificate_and_a_name_are_given_each_on_its_own() {
    tls::a_certificate_and_a_name_are_given_each_on_its_own::<Plain>().await;
}

#[tokio::test]
async fn half_a_pair_and_what_is_no_certificate_are_refused_before_connecting() {
    tls::half_a_pair_and_what_is_no_certificate_are_refused_before_connecting::<Plain>().await;
}

#[tokio::test]
async fn what_is_wrong_with_tls_is_said_at_once_and_not_tried_again() {
    tls::what_is_wrong_with_tls_is_said_at_once_and_not_tried_again::<Plain>().await;
}

#[tokio::test]
async fn who_speaks_tls_and_who_does_not_is_told_apart() {
    tls::who_speaks_tls_and_who_does_not_is_told_apart::<Plain>().await;
}

#[tokio::test]
async fn tls_is_never_given_up_for_plain_text() {
    tls::tls_is_never_given_up_for_plain_text::<Plain>("ann").await;
}
