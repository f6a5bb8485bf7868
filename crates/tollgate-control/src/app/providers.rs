//! Providers and their credentials. Secrets go in and never come out.

mod checks;
mod responses;
mod vendors;

use serde::{Deserialize, Serialize};
use tollgate_domain::{CredentialId, ProviderId};
use tollgate_policy::{Dialect, ResponsesMode, Retention};
use tollgate_store::{CredentialRecord, NewCredential, NewProvider, ProviderRecord};
use utoipa::ToSchema;

use self::checks::{
    base_url, check_concurrency, check_credentials, check_host_change, check_region, dialect,
};
pub use self::responses::ProviderResponses;
use super::lookup::missing;
use super::{App, List, ListQuery, present};
use crate::error::Problems;
use crate::parts::{CredentialBody, Time, name, retention, retention_text};
use crate::secrets::CredentialBinding;
use crate::{Action, Actor, AppError, Resource, ResourceOwner, Verb, authorize};

/// Most credentials of one provider.
const MAX_CREDENTIALS: usize = 64;
/// Longest base URL.
const MAX_URL_CHARS: usize = 2_048;

/// A provider to be created; also its entry in the configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateProvider {
    /// Unique name: the first segment of `provider/model`.
    #[schema(example = "openai")]
    pub name: String,
    /// What it speaks: `openai`, `azure_openai`, `anthropic`, `gemini`, `vertex`, `bedrock`, `cohere` or `demo`.
    #[schema(example = "openai")]
    pub dialect: String,
    /// Where it is; known vendors, the demo provider, and `bedrock` and `vertex` with a `region` need none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "https://api.openai.com/v1")]
    pub base_url: Option<String>,
    /// Its credentials; may be empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<CredentialBody>,
    /// Where the data goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "us")]
    pub region: Option<String>,
    /// What the vendor keeps: `none`, or days like `30d`; unknown where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "30d")]
    pub retention: Option<String>,
    /// Whether the vendor trains on the data; unknown where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trains_on_data: Option<bool>,
    /// Requests in flight per pod, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub max_concurrent_requests: Option<u32>,
    /// Whether clients' Responses pass to it (`native`) or are translated into Chat Completions (`translated`); what
    /// the catalogue says of its vendor where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub responses: Option<ProviderResponses>,
}

/// Changes to a provider: absent is unchanged, `null` resets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateProvider {
    /// A new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it is. A new host needs every secret again: credentials are bound to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Credentials, all of them anew; one without `secret` keeps what is stored under its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Vec<CredentialBody>>,
    /// Where the data goes; `null` is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    pub region: Option<Option<String>>,
    /// What the vendor keeps; `null` is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    pub retention: Option<Option<String>>,
    /// Whether the vendor trains on the data; `null` is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<bool>)]
    pub trains_on_data: Option<Option<bool>>,
    /// Requests in flight per pod; `null` is unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<u32>)]
    pub max_concurrent_requests: Option<Option<u32>>,
    /// Whether clients' Responses pass to it; `null` is what the catalogue says of its vendor.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<ProviderResponses>)]
    pub responses: Option<Option<ProviderResponses>>,
}

/// A credential, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CredentialView {
    /// Identity.
    pub id: String,
    /// Unique name within the provider.
    pub name: String,
    /// Share of the traffic.
    pub weight: u32,
    /// When its secret was last changed.
    pub secret_changed_at: Time,
}

/// A provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProviderView {
    /// Identity.
    pub id: String,
    /// Unique name.
    pub name: String,
    /// What it speaks.
    pub dialect: String,
    /// Where it is; empty for the demo provider.
    pub base_url: String,
    /// Its credentials.
    pub credentials: Vec<CredentialView>,
    /// Where the data goes.
    pub region: Option<String>,
    /// What the vendor keeps.
    pub retention: Option<String>,
    /// Whether the vendor trains on the data.
    pub trains_on_data: Option<bool>,
    /// Requests in flight per pod, at most.
    pub max_concurrent_requests: Option<u32>,
    /// Whether clients' Responses pass to it; what the catalogue says of its vendor where `null`.
    pub responses: Option<ProviderResponses>,
    /// When it was created.
    pub created_at: Time,
    /// When it was last changed.
    pub updated_at: Time,
}

impl From<ProviderRecord> for ProviderView {
    fn from(record: ProviderRecord) -> Self {
        let credentials = record.credentials.into_iter().map(|credential| CredentialView {
            id: credential.id.to_string(),
            name: credential.name,
            weight: credential.weight,
            secret_changed_at: Time(credential.secret_changed_at),
        });
        Self {
            id: record.id.to_string(),
            name: record.name,
            dialect: record.dialect.name().to_owned(),
            base_url: record.base_url,
            credentials: credentials.collect(),
            region: record.region,
            retention: record.retention.map(retention_text),
            trains_on_data: record.trains_on_data,
            max_concurrent_requests: record.max_concurrent_requests,
            responses: record.responses.map(ProviderResponses::from),
            created_at: Time(record.created_at),
            updated_at: Time(record.updated_at),
        }
    }
}

/// The checked facts of a provider.
#[derive(Clone, Debug)]
pub(crate) struct CheckedProvider {
    pub(crate) dialect: Dialect,
    pub(crate) base_url: String,
    pub(crate) retention: Option<Retention>,
}

impl CreateProvider {
    /// Notes every problem; the facts where there is none among them.
    pub(crate) fn check(&self, path: &str, problems: &mut Problems) -> Option<CheckedProvider> {
        problems.take(format!("{path}name"), name(&self.name));
        let dialect = problems.take(format!("{path}dialect"), dialect(&self.dialect));
        let base_url = dialect.and_then(|dialect| {
            let of_region = vendors::base_url(dialect, self.region.as_deref());
            let given = self.base_url.as_deref().or(of_region.as_deref());
            let url = base_url(dialect, &self.name, given);
            problems.take(format!("{path}base_url"), url)
        });
        if let (Some(dialect), Some(base_url)) = (dialect, &base_url) {
            let at = vendors::Place { dialect, base_url, region: self.region.as_deref() };
            vendors::check_place(&at, path, problems);
            vendors::check_credentials(&at, &self.credentials, &format!("{path}credentials"), problems);
        }
        check_credentials(&self.credentials, &format!("{path}credentials"), problems);
        check_region(self.region.as_deref(), &format!("{path}region"), problems);
        let retention =
            self.retention.as_deref().map(|text| problems.take(format!("{path}retention"), retention(text)));
        check_concurrency(self.max_concurrent_requests, &format!("{path}max_concurrent_requests"), problems);
        responses::check(self.responses, dialect, &format!("{path}responses"), problems);
        Some(CheckedProvider { dialect: dialect?, base_url: base_url?, retention: retention.flatten() })
    }
}

impl App {
    pub(super) async fn find_provider(&self, reference: &str) -> Result<ProviderRecord, AppError> {
        let found = match reference.parse() {
            Ok(id) => self.parts.store.provider(id).await,
            Err(_) => self.parts.store.provider_by_name(reference).await,
        };
        found.map_err(|error| missing(error, "provider", reference))
    }

    fn may_providers(actor: &Actor, verb: Verb) -> Result<(), AppError> {
        authorize(actor, Action::new(verb, Resource::Provider), ResourceOwner::Installation)
    }

    /// Creates a provider; its secrets are encrypted before they are stored.
    ///
    /// # Errors
    /// Forbidden; invalid fields; conflict on `name`.
    pub async fn create_provider(
        &self,
        actor: &Actor,
        input: CreateProvider,
    ) -> Result<ProviderView, AppError> {
        Self::may_providers(actor, Verb::Create)?;
        let mut problems = Problems::default();
        let checked = input.check("", &mut problems);
        for (index, credential) in input.credentials.iter().enumerate() {
            if credential.secret.is_none() {
                problems.add(format!("credentials[{index}].secret"), "is missing");
            }
        }
        if self.parts.store.model_by_name(&input.name).await.is_ok() {
            problems.add("name", "is the name of a virtual model: choose another");
        }
        problems.finish()?;
        let checked =
            checked.ok_or_else(|| AppError::Internal("a checked provider has no facts".to_owned()))?;
        let id: ProviderId = self.new_id()?;
        let credentials = self.seal_credentials(id, &checked.base_url, &input.credentials, &[])?;
        let provider = NewProvider {
            id,
            name: input.name,
            dialect: checked.dialect,
            base_url: checked.base_url,
            credentials,
            region: input.region,
            retention: checked.retention,
            trains_on_data: input.trains_on_data,
            max_concurrent_requests: input.max_concurrent_requests,
            responses: input.responses.map(ResponsesMode::from),
        };
        Ok(self.parts.store.create_provider(&self.context(actor), provider).await?.into())
    }

    /// Credentials as they are stored; one without a secret keeps the stored one of its name.
    fn seal_credentials(
        &self,
        provider: ProviderId,
        base_url: &str,
        wanted: &[CredentialBody],
        stored: &[CredentialRecord],
    ) -> Result<Vec<NewCredential>, AppError> {
        let binding = CredentialBinding::new(provider, base_url);
        let mut sealed = Vec::with_capacity(wanted.len());
        for (index, credential) in wanted.iter().enumerate() {
            let old = stored.iter().find(|old| old.name == credential.name);
            let ciphertext = match (credential.kept_secret(), old) {
                (Some(secret), _) => self.parts.credentials.seal(&binding, &secret.0)?,
                (None, Some(old)) => old.ciphertext.clone(),
                (None, None) => {
                    return Err(AppError::invalid(format!("credentials[{index}].secret"), "is missing"));
                }
            };
            let id: CredentialId = match old {
                Some(old) => old.id,
                None => self.new_id()?,
            };
            let (name, weight) = (credential.name.clone(), credential.weight.unwrap_or(1));
            sealed.push(NewCredential { id, name, ciphertext, weight });
        }
        Ok(sealed)
    }

    /// The provider of that id or name.
    ///
    /// # Errors
    /// Forbidden; not found.
    pub async fn provider(&self, actor: &Actor, provider: &str) -> Result<ProviderView, AppError> {
        Self::may_providers(actor, Verb::Read)?;
        Ok(self.find_provider(provider).await?.into())
    }

    /// Providers in the order of their creation.
    ///
    /// # Errors
    /// Forbidden; a bad page.
    pub async fn list_providers(
        &self,
        actor: &Actor,
        query: &ListQuery,
    ) -> Result<List<ProviderView>, AppError> {
        Self::may_providers(actor, Verb::Read)?;
        Ok(List::of(self.parts.store.list_providers(query.page()?).await?, ProviderView::from))
    }

    /// Changes a provider. A new host needs every secret again.
    ///
    /// # Errors
    /// Forbidden; not found; invalid fields; conflict on `name`.
    pub async fn update_provider(
        &self,
        actor: &Actor,
        provider: &str,
        input: UpdateProvider,
    ) -> Result<ProviderView, AppError> {
        Self::may_providers(actor, Verb::Update)?;
        let record = self.find_provider(provider).await?;
        let mut problems = Problems::default();
        if let Some(new_name) = &input.name {
            problems.take("name", name(new_name));
            if *new_name != record.name && self.parts.store.model_by_name(new_name).await.is_ok() {
                problems.add("name", "is the name of a virtual model: choose another");
            }
        }
        let new_url = input.base_url.as_deref().map(|url| base_url(record.dialect, &record.name, Some(url)));
        let new_url = new_url.and_then(|url| problems.take("base_url", url));
        if let Some(credentials) = &input.credentials {
            check_credentials(credentials, "credentials", &mut problems);
        }
        check_region(input.region.as_ref().and_then(Option::as_deref), "region", &mut problems);
        let new_retention = input
            .retention
            .as_ref()
            .map(|text| text.as_deref().and_then(|text| problems.take("retention", retention(text))));
        check_concurrency(input.max_concurrent_requests.flatten(), "max_concurrent_requests", &mut problems);
        responses::check(input.responses.flatten(), Some(record.dialect), "responses", &mut problems);
        let url = new_url.unwrap_or_else(|| record.base_url.clone());
        check_host_change(&record, &url, input.credentials.as_deref(), &mut problems);
        let region = input.region.as_ref().map_or(record.region.as_deref(), Option::as_deref);
        let at = vendors::Place { dialect: record.dialect, base_url: &url, region };
        vendors::check_place(&at, "", &mut problems);
        let new_credentials = input.credentials.as_deref().unwrap_or_default();
        vendors::check_credentials(&at, new_credentials, "credentials", &mut problems);
        problems.finish()?;
        let credentials = input
            .credentials
            .as_ref()
            .map(|wanted| self.seal_credentials(record.id, &url, wanted, &record.credentials))
            .transpose()?;
        let now = self.now();
        let change = move |record: &mut ProviderRecord| {
            if let Some(name) = &input.name {
                record.name.clone_from(name);
            }
            record.base_url.clone_from(&url);
            if let Some(credentials) = &credentials {
                record.credentials =
                    credentials.iter().cloned().map(|credential| credential.into_record(now)).collect();
            }
            if let Some(region) = &input.region {
                record.region.clone_from(region);
            }
            record.retention = new_retention.unwrap_or(record.retention);
            record.trains_on_data = input.trains_on_data.unwrap_or(record.trains_on_data);
            record.max_concurrent_requests =
                input.max_concurrent_requests.unwrap_or(record.max_concurrent_requests);
            if let Some(responses) = input.responses {
                record.responses = responses.map(ResponsesMode::from);
            }
        };
        Ok(self.parts.store.update_provider(&self.context(actor), record.id, change).await?.into())
    }

    /// Deletes a provider with its credentials.
    ///
    /// # Errors
    /// Forbidden; not found; conflict where a model leads to it.
    pub async fn delete_provider(&self, actor: &Actor, provider: &str) -> Result<ProviderView, AppError> {
        Self::may_providers(actor, Verb::Delete)?;
        let record = self.find_provider(provider).await?;
        Ok(self.parts.store.delete_provider(&self.context(actor), record.id).await?.into())
    }

    /// Whether the stored secret of a credential is this one.
    pub(crate) async fn has_credential(
        &self,
        actor: &Actor,
        provider: &str,
        wanted: &CredentialBody,
    ) -> Result<bool, AppError> {
        Self::may_providers(actor, Verb::Update)?;
        let record = self.find_provider(provider).await?;
        let Some(stored) = record.credentials.iter().find(|stored| stored.name == wanted.name) else {
            return Ok(false);
        };
        let Some(secret) = wanted.kept_secret() else { return Ok(true) };
        let binding = CredentialBinding::new(record.id, &record.base_url);
        Ok(self.parts.credentials.open(&binding, &stored.ciphertext).is_ok_and(|stored| stored == secret.0))
    }
}
