use serde_json::{Value, json};

use super::Server;

/// A token with a policy of its own, on a server that asks for tokens.
#[derive(Debug)]
pub(crate) struct Token {
    /// What a client says.
    pub(crate) secret: String,
    accessor: String,
    policy: String,
}

impl Server {
    /// The token with every right.
    pub(crate) fn management_token(&self) -> &str {
        self.api().token().expect("a server that was started with ACLs")
    }

    /// Makes a token with such rights, in Consul's words: `key_prefix "a/" { policy = "read" }`.
    pub(crate) async fn make_token(&self, rules: &str) -> Token {
        let name = format!("p{:016x}", fastrand::u64(..));
        let policy = json!({ "Name": name, "Rules": rules }).to_string();
        let policy = text(&self.api().put("/v1/acl/policy", policy).await.json(), "ID");
        let token = json!({ "Policies": [{ "ID": policy }] }).to_string();
        let token = self.api().put("/v1/acl/token", token).await.json();
        Token { secret: text(&token, "SecretID"), accessor: text(&token, "AccessorID"), policy }
    }

    /// Gives a token other rights than it had.
    pub(crate) async fn set_rules(&self, token: &Token, rules: &str) {
        let path = format!("/v1/acl/policy/{}", token.policy);
        let name = text(&self.api().get(&path).await.json(), "Name");
        let policy = json!({ "ID": token.policy, "Name": name, "Rules": rules }).to_string();
        self.api().put(&path, policy).await.json();
    }

    /// Takes a token away; the server knows nothing of it then.
    pub(crate) async fn revoke(&self, token: &Token) {
        self.api().delete(&format!("/v1/acl/token/{}", token.accessor)).await.json();
    }
}

fn text(answer: &Value, field: &str) -> String {
    answer[field].as_str().unwrap_or_else(|| panic!("no {field} in {answer}")).to_owned()
}
