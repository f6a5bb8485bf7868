//! Stored records to objects of policy: credentials are opened here and nowhere else.

use tollgate_domain::KeyPepper;
use tollgate_policy::{CredentialPolicy, PolicyObject, ProviderPolicy, Settings};
use tollgate_store::{PolicyRecord, ProviderRecord};

use crate::secrets::{CredentialBinding, CredentialBox};

/// Turns records into objects.
#[derive(Clone, Debug)]
pub(crate) struct Compiler {
    credentials: CredentialBox,
    pepper: KeyPepper,
}

impl Compiler {
    pub(crate) fn new(credentials: CredentialBox, pepper: KeyPepper) -> Self {
        Self { credentials, pepper }
    }

    /// The object as the pods see it.
    pub(crate) fn object(&self, record: PolicyRecord) -> PolicyObject {
        match record {
            PolicyRecord::Settings(settings) => PolicyObject::Settings(Settings {
                key_pepper: self.pepper.clone(),
                default_models: settings.default_models,
                hold_slice_tokens: settings.hold_slice_tokens,
            }),
            PolicyRecord::Provider(provider) => PolicyObject::Provider(self.provider(provider)),
            PolicyRecord::Price(price) => {
                let mut row = price.row;
                row.id = Some(price.id);
                PolicyObject::Price(row)
            }
            PolicyRecord::Margin(margin) => PolicyObject::Margin(margin.rule),
            PolicyRecord::Model(model) => PolicyObject::Model(model.to_policy()),
            PolicyRecord::Tenant(tenant) => PolicyObject::Tenant(tenant.to_policy()),
            PolicyRecord::Project(project) => PolicyObject::Project(project.to_policy()),
            PolicyRecord::Key(key) => PolicyObject::Key(key.to_policy()),
            PolicyRecord::Budget(budget) => PolicyObject::Budget(budget.to_policy()),
        }
    }

    /// A credential that does not open is left out: one damaged row must not stop all policy.
    fn provider(&self, record: ProviderRecord) -> ProviderPolicy {
        let binding = CredentialBinding::new(record.id, &record.base_url);
        let mut credentials = Vec::with_capacity(record.credentials.len());
        for credential in record.credentials {
            match self.credentials.open(&binding, &credential.ciphertext) {
                Ok(secret) => credentials.push(CredentialPolicy {
                    id: credential.id,
                    name: credential.name,
                    secret,
                    weight: credential.weight,
                }),
                Err(error) => {
                    tracing::error!(provider = record.name, credential = credential.name, %error, "a credential is left out");
                }
            }
        }
        ProviderPolicy {
            id: record.id,
            name: record.name,
            dialect: record.dialect,
            base_url: record.base_url,
            credentials,
            region: record.region,
            retention: record.retention,
            trains_on_data: record.trains_on_data,
            max_concurrent_requests: record.max_concurrent_requests,
            responses: record.responses,
        }
    }
}
