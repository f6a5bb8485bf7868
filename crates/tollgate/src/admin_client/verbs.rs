//! What a resource's command is made of. Plain data, so that the whole command line of the admin API can be
//! read in `resources.rs`.

/// An admin resource: `tollgate NAME VERB …`.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// A single one without a name makes the resource itself the command (`tollgate usage`).
    pub(crate) verbs: &'static [Verb],
}

/// One call of the admin API.
#[derive(Debug)]
pub(crate) struct Verb {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) example: &'static str,
    pub(crate) method: Method,
    /// Below `/api/v1`; `{name}` is filled from the argument of that name.
    pub(crate) path: &'static str,
    pub(crate) arguments: &'static [Argument],
    /// Fields a list shows as columns where they occur; all scalar ones where none is named.
    pub(crate) columns: &'static [&'static str],
}

/// What is done with the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// GET, following `next` through `{"data":[…],"next":…}`.
    List,
    /// GET of one object, or of something that is no page.
    Get,
    /// POST with the arguments as body.
    Post,
    /// PATCH with the arguments as body.
    Patch,
    /// DELETE.
    Delete,
}

/// One argument of a verb.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Argument {
    /// The flag's name, with `_` for `-`, or the name in the path.
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) place: Place,
    pub(crate) kind: Kind,
    pub(crate) required: bool,
    pub(crate) default: Option<&'static str>,
}

/// Where an argument goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Positional; fills `{name}` in the path.
    Path,
    /// A flag that fills `{name}` in the path.
    PathFlag,
    /// A flag that becomes a query parameter of its name.
    Query,
    /// Positional; becomes the body's field of that (dotted) name.
    BodyPositional(&'static str),
    /// A flag; becomes the body's field of that (dotted) name.
    Body(&'static str),
}

/// What an argument holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text as it is; money and times as well.
    Text,
    /// A whole number.
    Whole,
    /// `true` or `false`.
    Boolean,
    /// A flag without a value, that says true.
    Switch,
    /// A list, separated by commas or by repeating the flag.
    Words,
    /// `name=value` pairs, likewise.
    Labels,
    /// `provider/model` in order of priority, likewise.
    Targets,
    /// A file with a secret.
    SecretFile,
    /// A file with a provider's key: becomes the credential `main`.
    CredentialFile,
    /// The name of an environment variable with a provider's key: becomes the credential `main`.
    CredentialVariable,
    /// Any JSON.
    Json,
}

impl Argument {
    /// `--name`, or `NAME` for positional ones.
    pub(crate) fn shown(&self) -> String {
        match self.place {
            Place::Path | Place::BodyPositional(_) => self.name.to_uppercase(),
            _ => format!("--{}", self.name.replace('_', "-")),
        }
    }
}

// === arguments, tersely ===

/// A positional that fills the path.
pub(crate) const fn object(name: &'static str, help: &'static str) -> Argument {
    Argument { name, help, place: Place::Path, kind: Kind::Text, required: true, default: None }
}

/// A required flag that fills the path.
pub(crate) const fn parent(name: &'static str, help: &'static str) -> Argument {
    Argument { name, help, place: Place::PathFlag, kind: Kind::Text, required: true, default: None }
}

/// An optional query parameter.
pub(crate) const fn filter(name: &'static str, help: &'static str) -> Argument {
    Argument { name, help, place: Place::Query, kind: Kind::Text, required: false, default: None }
}

/// A required positional that is a field of the body.
pub(crate) const fn first(name: &'static str, help: &'static str) -> Argument {
    Argument {
        name,
        help,
        place: Place::BodyPositional(name),
        kind: Kind::Text,
        required: true,
        default: None,
    }
}

/// An optional flag that is a field of the body under its own name.
pub(crate) const fn field(name: &'static str, kind: Kind, help: &'static str) -> Argument {
    inner(name, name, kind, help)
}

/// An optional flag that is a field of the body under a dotted name.
pub(crate) const fn inner(
    name: &'static str,
    dotted: &'static str,
    kind: Kind,
    help: &'static str,
) -> Argument {
    Argument { name, help, place: Place::Body(dotted), kind, required: false, default: None }
}

/// The same, with a value where it is not given.
pub(crate) const fn with_default(argument: Argument, default: &'static str) -> Argument {
    Argument { default: Some(default), ..argument }
}

/// The same, but it must be given.
pub(crate) const fn required(argument: Argument) -> Argument {
    Argument { required: true, ..argument }
}
