//! What a server says of itself: whether money is safe in it, and which run of it this is.

use redis::aio::MultiplexedConnection;

use super::client::{explain, is_outage};
use crate::error::LedgerError;

/// The oldest release whose commands the scripts use.
const MIN_MAJOR_VERSION: u32 = 7;
/// Of the replication id, so many letters tell one role of a server from the next.
const REPLICATION_ID_LETTERS: usize = 12;

/// A server that may be used.
pub(super) struct Server {
    /// `:<run id>-<replication id>`. The first changes with every start; the second also when a server becomes
    /// a master again after it was a replica, and so lost what its master did not have.
    pub(super) run: String,
}

/// Asks the server what it is; refuses it where money would not be safe.
pub(super) async fn inspect(connection: &mut MultiplexedConnection) -> Result<Server, LedgerError> {
    check_eviction(connection).await?;
    let info: String = redis::cmd("INFO").query_async(connection).await.map_err(|error| explain(&error))?;
    read_info(&info)
}

fn read_info(info: &str) -> Result<Server, LedgerError> {
    let field = |name: &str| {
        let mut lines = info.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(field, _)| *field == name).map(|(_, value)| value.trim())
    };
    let version = field("redis_version").unwrap_or("unknown");
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < MIN_MAJOR_VERSION) {
        return Err(LedgerError::Misconfigured(format!(
            "Redis is of version {version}; use {MIN_MAJOR_VERSION}.0 or later, or Valkey"
        )));
    }
    let run_id = field("run_id").filter(|id| id.len() >= REPLICATION_ID_LETTERS);
    let Some(run_id) = run_id else {
        return Err(LedgerError::Misconfigured(
            "Redis does not tell its run_id (INFO server), without which a restart would not be noticed; \
             allow the user `INFO`"
                .to_owned(),
        ));
    };
    let replication_id = field("master_replid").and_then(|id| id.get(..REPLICATION_ID_LETTERS));
    Ok(Server { run: format!(":{run_id}-{}", replication_id.unwrap_or("0")) })
}

/// A server that evicts keys forgets holds and charges: it is refused. Where asking is forbidden (as by
/// some hosted servers) a warning must do.
async fn check_eviction(connection: &mut MultiplexedConnection) -> Result<(), LedgerError> {
    let mut command = redis::cmd("CONFIG");
    command.arg("GET").arg("maxmemory-policy");
    match command.query_async::<Vec<String>>(connection).await {
        Ok(answer) => match answer.get(1).map(String::as_str) {
            Some("noeviction") => Ok(()),
            policy => Err(LedgerError::Misconfigured(format!(
                "Redis may evict keys (maxmemory-policy is {}), which would lose money; run `CONFIG SET \
                 maxmemory-policy noeviction` and put it into redis.conf, and keep caches in another Redis",
                policy.unwrap_or("unknown")
            ))),
        },
        Err(error) if is_outage(&error) => Err(explain(&error)),
        Err(_) => {
            tracing::warn!(
                "Redis does not tell its maxmemory-policy: make sure that it is noeviction, or money is lost"
            );
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "run_id:0123456789abcdef0123456789abcdef01234567\r\n";

    fn refusal(info: &str) -> String {
        match read_info(info) {
            Err(LedgerError::Misconfigured(text)) => text,
            other => panic!("expected a refusal, got {:?}", other.map(|server| server.run)),
        }
    }

    #[test]
    fn servers() {
        let info = format!(
            "# Server\r\nredis_version:7.2.4\r\n{RUN}# Replication\r\nmaster_replid:aaaabbbbccccdddd\r\n"
        );
        let run = read_info(&info).map(|server| server.run);
        assert_eq!(run, Ok(":0123456789abcdef0123456789abcdef01234567-aaaabbbbcccc".to_owned()));
        assert!(refusal(&format!("redis_version:6.2.14\r\n{RUN}")).contains("6.2.14"));
        assert!(refusal(&format!("redis_version:odd\r\n{RUN}")).contains("odd"));
        assert!(refusal("redis_version:7.0.15\r\n").contains("run_id"));
    }
}
