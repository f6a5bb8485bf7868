//! A running control plane with nothing outside this process.

use std::sync::Arc;
use std::time::Duration;

use tollgate_domain::{ManualClock, Secret, UnixMillis};
use tollgate_ledger::Ledger;
use tollgate_store::Store;

use crate::{
    Actor, App, Control, ControlConfig, CreateKey, CreateModel, CreateProject, CreateProvider, CreateTenant,
    CreatedKey, CredentialBody, MasterKey, SecretText, TargetBody,
};

/// 2026-11-22T12:00:00Z
pub(super) const NOW: UnixMillis = UnixMillis(1_795_348_800_000);
/// Far above what anything here takes on a loaded machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
pub(super) const PLANE_TOKEN: &str = "plane-token-for-tests";

pub(super) struct World {
    pub(super) control: Control,
    pub(super) ledger: Ledger,
    pub(super) store: Store,
    pub(super) clock: Arc<ManualClock>,
    pub(super) admin: Actor,
}

impl World {
    pub(super) async fn new() -> Self {
        let store = Store::connect("sqlite::memory:").await.unwrap();
        store.migrate().await.unwrap();
        Self::over(store).await
    }

    pub(super) async fn over(store: Store) -> Self {
        let clock = Arc::new(ManualClock::new(NOW));
        let ledger = Ledger::memory(clock.clone());
        Self::with(store, ledger, clock).await
    }

    pub(super) async fn with(store: Store, ledger: Ledger, clock: Arc<ManualClock>) -> Self {
        let control = start(store.clone(), ledger.clone(), clock.clone(), 7).await.unwrap();
        Self { control, ledger, store, clock, admin: Actor::new("ada", crate::Role::PlatformAdmin) }
    }

    pub(super) fn app(&self) -> &App {
        self.control.app()
    }

    pub(super) async fn tenant(&self, name: &str) -> crate::TenantView {
        let body = CreateTenant { name: name.into(), ..CreateTenant::default() };
        self.app().create_tenant(&self.admin, body).await.unwrap()
    }

    pub(super) async fn key(&self, tenant: &str, project: &str, name: &str) -> CreatedKey {
        let path = format!("{tenant}/{project}");
        if self.app().project(&self.admin, &path).await.is_err() {
            let body = CreateProject { name: project.into(), ..CreateProject::default() };
            self.app().create_project(&self.admin, tenant, body).await.unwrap();
        }
        let body = CreateKey { name: name.into(), ..CreateKey::default() };
        self.app().create_key(&self.admin, &path, body).await.unwrap()
    }

    pub(super) async fn provider(&self, name: &str) -> crate::ProviderView {
        self.app().create_provider(&self.admin, provider_body(name)).await.unwrap()
    }

    pub(super) async fn model(&self, name: &str, provider: &str, fallbacks: &[&str]) -> crate::ModelView {
        let body = CreateModel {
            name: name.into(),
            targets: vec![target(provider)],
            fallbacks: fallbacks.iter().map(|name| (*name).to_owned()).collect(),
            ..CreateModel::default()
        };
        self.app().create_model(&self.admin, body).await.unwrap()
    }
}

pub(super) async fn start(
    store: Store,
    ledger: Ledger,
    clock: Arc<ManualClock>,
    master_key: u8,
) -> Result<Control, crate::ControlError> {
    let config = ControlConfig {
        admin_token: Some(Secret::new("admin-token-for-tests")),
        plane_token: Some(Secret::new(PLANE_TOKEN)),
        ..ControlConfig::default()
    };
    Control::start(config, store, ledger, clock, MasterKey::new([master_key; 32])).await
}

pub(super) fn provider_body(name: &str) -> CreateProvider {
    CreateProvider {
        name: name.into(),
        dialect: "openai".into(),
        base_url: Some("https://api.example.com/v1/".into()),
        credentials: vec![credential("main", Some("sk-canary-secret"))],
        ..CreateProvider::default()
    }
}

pub(super) fn credential(name: &str, secret: Option<&str>) -> CredentialBody {
    let secret = secret.map(SecretText::new);
    CredentialBody { name: name.into(), secret, ..CredentialBody::default() }
}

pub(super) fn target(provider: &str) -> TargetBody {
    TargetBody { provider: provider.into(), model: "gpt-5-mini".into(), priority: 0, weight: None }
}

/// The paths of an invalid input's problems.
pub(super) fn paths(error: &crate::AppError) -> Vec<&str> {
    match error {
        crate::AppError::Invalid(problems) => problems.iter().map(|problem| problem.path.as_str()).collect(),
        other => panic!("not an invalid input: {other:?}"),
    }
}
