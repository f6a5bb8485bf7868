//! What this replica knows of the pods that watch it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tollgate_domain::{NodeId, UnixMillis};

use crate::app::{NodeRefusalView, NodeView};
use crate::parts::Time;

/// How long a pod that is gone is still listed.
const FORGET_AFTER_MS: i64 = 3_600_000;
/// Most pods remembered: names come from the network.
const MAX_NODES: usize = 10_000;
/// Longest name, version or reason that is kept.
const MAX_TEXT_CHARS: usize = 256;

/// One pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    id: NodeId,
    name: String,
    version: String,
    streams: u32,
    revision: u64,
    refused: Option<(u64, String)>,
    last_seen: UnixMillis,
}

impl Node {
    fn is_behind(&self, revision: u64) -> bool {
        let refused = self.refused.as_ref().is_some_and(|(refused, _)| *refused >= revision);
        self.streams > 0 && self.revision < revision && !refused
    }

    pub(crate) fn view(self, newest: u64) -> NodeView {
        NodeView {
            id: self.id.to_string(),
            name: self.name,
            version: self.version,
            connected: self.streams > 0,
            revision: self.revision,
            lag: newest.saturating_sub(self.revision),
            refused: self.refused.map(|(revision, reason)| NodeRefusalView { revision, reason }),
            last_seen_at: Time(self.last_seen),
        }
    }
}

/// The pods by id. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeRegistry {
    nodes: Arc<Mutex<HashMap<NodeId, Node>>>,
    /// The revision that no pod was told of, because none could serve it, and why.
    withheld: Arc<Mutex<Option<(u64, String)>>>,
    /// Told whenever a pod says something, or a revision is withheld.
    heard: Arc<watch::Sender<()>>,
}

fn short(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(MAX_TEXT_CHARS).collect()
}

impl NodeRegistry {
    /// A stream opened.
    pub(crate) fn connected(&self, id: NodeId, name: &str, version: &str, revision: u64, now: UnixMillis) {
        let mut nodes = self.nodes.lock();
        nodes.retain(|_, node| node.streams > 0 || now.since(node.last_seen) < FORGET_AFTER_MS);
        if nodes.len() >= MAX_NODES && !nodes.contains_key(&id) {
            return;
        }
        let streams = nodes.get(&id).map_or(0, |node| node.streams) + 1;
        let (name, version) = (short(name), short(version));
        nodes.insert(id, Node { id, name, version, streams, revision, refused: None, last_seen: now });
    }

    /// A stream closed.
    pub(crate) fn disconnected(&self, id: NodeId, now: UnixMillis) {
        self.change(id, now, |node| node.streams = node.streams.saturating_sub(1));
    }

    /// A revision serves.
    pub(crate) fn acknowledged(&self, id: NodeId, revision: u64, now: UnixMillis) {
        self.change(id, now, |node| {
            node.revision = revision;
            if node.refused.as_ref().is_some_and(|(refused, _)| *refused <= revision) {
                node.refused = None;
            }
        });
    }

    /// A revision was refused.
    pub(crate) fn refused(&self, id: NodeId, revision: u64, reason: &str, now: UnixMillis) {
        self.change(id, now, |node| node.refused = Some((revision, short(reason))));
    }

    fn change(&self, id: NodeId, now: UnixMillis, change: impl FnOnce(&mut Node)) {
        if let Some(node) = self.nodes.lock().get_mut(&id) {
            node.last_seen = now;
            change(node);
        }
        self.heard.send_replace(());
    }

    /// A revision is kept from the pods: each of them would refuse it.
    pub(crate) fn withhold(&self, revision: u64, reason: String) {
        *self.withheld.lock() = Some((revision, reason));
        self.heard.send_replace(());
    }

    /// The newest revision is no such one any more.
    pub(crate) fn release(&self) {
        *self.withheld.lock() = None;
    }

    /// Waits until every connected pod serves `revision` or has refused it, or until it is withheld.
    pub(crate) async fn reached(&self, revision: u64) {
        let is_open = || self.nodes.lock().values().any(|node| node.is_behind(revision));
        self.until(|| self.is_withheld(revision) || !is_open()).await;
    }

    /// Waits until `revision` or a later one is withheld.
    pub(crate) async fn withheld(&self, revision: u64) {
        self.until(|| self.is_withheld(revision)).await;
    }

    fn is_withheld(&self, revision: u64) -> bool {
        self.withheld.lock().as_ref().is_some_and(|(withheld, _)| *withheld >= revision)
    }

    async fn until(&self, is_so: impl Fn() -> bool) {
        let mut heard = self.heard.subscribe();
        while !is_so() {
            // the sender lives as long as this registry
            let _ = heard.changed().await;
        }
    }

    /// All of them; a revision that was withheld counts as refused by each.
    pub(crate) fn all(&self) -> Vec<Node> {
        let mut nodes: Vec<Node> = self.nodes.lock().values().cloned().collect();
        if let Some(withheld) = &*self.withheld.lock() {
            for node in &mut nodes {
                node.refused = Some(withheld.clone());
            }
        }
        nodes
    }
}
