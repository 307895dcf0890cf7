/// How many bytes of a name are taken as a number, behind those that names have in common.
const DIGITS: usize = 6;
/// How many names a part should have for each one that is wanted: more than one, since a part that
/// ends early costs an exchange.
const MARGIN: u128 = 5;
const OF: u128 = 4;

/// Guesses where a part of a span ends that has about as many names as are wanted.
///
/// For each page the server counts what is left of the range that it was asked for, so that a
/// listing of many pages costs the square of its length. A range with a near end has little to
/// count. Any guess is right, since the listing goes on behind it; a bad one costs time.
#[derive(Debug, Default)]
pub(crate) struct Guess {
    /// How many bytes the names around here have in common.
    stem: usize,
}

impl Guess {
    /// An end behind `last`, if names go on as densely as the `seen` ones from `first` to `last`.
    pub(crate) fn further(
        &mut self,
        first: &[u8],
        last: &[u8],
        seen: usize,
        wanted: usize,
    ) -> Option<Vec<u8>> {
        self.stem = common(first, last);
        let (from, to) = (number(&first[self.stem..]), number(&last[self.stem..]));
        let step = u128::from(to.saturating_sub(from)) * wanted as u128 * MARGIN;
        let step = step / (seen.max(1) as u128 * OF);
        let end = u128::from(to) + step.max(1);
        if end >> (8 * DIGITS) > 0 {
            return next(&last[..self.stem]);
        }
        let end = u64::try_from(end).unwrap_or_default().to_be_bytes();
        Some([&last[..self.stem], &end[8 - DIGITS..]].concat())
    }

    /// An end behind `reached`, up to which there was less than expected: names go on beside what
    /// they had in common so far, or further up.
    pub(crate) fn elsewhere(&mut self, reached: &[u8]) -> Option<Vec<u8>> {
        let stem = reached.get(..self.stem)?;
        self.stem = self.stem.saturating_sub(1);
        next(&next(stem)?)
    }
}

/// How many bytes two names have in common.
fn common(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

fn number(name: &[u8]) -> u64 {
    let digits = name.iter().copied().chain(std::iter::repeat(0)).take(DIGITS);
    digits.fold(0, |number, digit| number << 8 | u64::from(digit))
}

/// The first name behind all that begin like this.
fn next(stem: &[u8]) -> Option<Vec<u8>> {
    let last = stem.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut next = stem[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_lies_behind_the_last_name_and_follows_the_density() {
        let mut guess = Guess::default();
        let end = guess.further(b"d/1000", b"d/1999", 1000, 1000).unwrap();
        assert!(end > b"d/1999".to_vec() && end < b"d/4".to_vec(), "{end:?}");
        let far = guess.further(b"d/1000", b"d/1999", 1000, 4000).unwrap();
        assert!(far > end);
        assert_eq!(
            guess.further(b"d/a\x01", b"d/a\xff\xff\xff\xff\xff\xff", 2, 9).unwrap(),
            b"d/b"
        );
        for last in [&b"d/1"[..], b"d/10000000", b"d/1\0"] {
            assert!(guess.further(b"d/0", last, 2, 1).unwrap() > last.to_vec(), "{last:?}");
        }
    }

    #[test]
    fn where_names_end_the_next_are_looked_for_beside_them() {
        let mut guess = Guess::default();
        guess.further(b"d/0007", b"d/0009", 3, 3);
        assert_eq!(guess.elsewhere(b"d/000A").unwrap(), b"d/002");
        assert_eq!(guess.elsewhere(b"d/002").unwrap(), b"d/02");
        assert_eq!(guess.elsewhere(b"d/02").unwrap(), b"d/2");
        assert_eq!(Guess::default().elsewhere(b"x"), None);
    }

    /// Reads a listing as its pages would, and returns how often the names were counted.
    fn counted(names: &[Vec<u8>], size: usize) -> f64 {
        let (mut guess, mut from, mut end) = (Guess::default(), b"d/".to_vec(), None::<Vec<u8>>);
        let (mut read, mut counted) = (0, 0);
        loop {
            let rest = names.partition_point(|name| *name < from);
            let part = end.as_ref().map_or(names.len(), |e| names.partition_point(|name| name < e));
            assert_eq!(rest, read, "a name was left out");
            counted += part - rest;
            let page = &names[rest..part.min(rest + size)];
            read += page.len();
            end = if part - rest > size {
                from = [page.last().unwrap(), &b"\0"[..]].concat();
                guess.further(&page[0], page.last().unwrap(), page.len(), size)
            } else if let Some(end) = end {
                from.clone_from(&end);
                guess.elsewhere(&end)
            } else {
                assert_eq!(read, names.len());
                return counted as f64 / names.len() as f64;
            };
        }
    }

    #[test]
    fn a_listing_is_complete_and_counted_few_times() {
        let decimal: Vec<_> = (0..100_000).map(|n| format!("d/{n:07}").into_bytes()).collect();
        let mut random = fastrand::Rng::with_seed(1);
        let mut hex: Vec<_> =
            (0..100_000).map(|_| format!("d/{:032x}", random.u128(..)).into_bytes()).collect();
        hex.sort();
        let mut users: Vec<_> =
            (0..100_000).map(|n| format!("d/user-{}/{n}", n % 997).into_bytes()).collect();
        users.sort();
        for names in [decimal, hex, users] {
            let times = counted(&names, 5_000);
            // Without a guess it is 10.5 for pages of this size.
            assert!(times < 3.0, "{times}");
        }
    }
}
