//! Where fallbacks lead: never back, and never too far.

use std::collections::{HashMap, HashSet};

use tollgate_policy::MAX_FALLBACK_DEPTH;

use crate::error::Problems;

/// Notes fallbacks of `model` that lead back to it or too far, given every other model's fallbacks.
pub(crate) fn check_fallbacks(
    model: &str,
    fallbacks: &[String],
    others: &HashMap<String, Vec<String>>,
    path: &str,
    problems: &mut Problems,
) {
    for (index, fallback) in fallbacks.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if fallback == model {
            problems.add(path, "a model cannot fall back to itself");
        } else if !others.contains_key(fallback) {
            problems.add(path, format!("there is no model `{}`", fallback.escape_debug()));
        } else if leads_to(fallback, model, others) {
            problems.add(path, format!("`{fallback}` falls back to `{model}`: a circle"));
        } else if depth_above(model, others) + 1 + depth_below(fallback, others) > MAX_FALLBACK_DEPTH {
            problems
                .add(path, format!("makes a chain of more than {MAX_FALLBACK_DEPTH} fallbacks: shorten it"));
        }
    }
}

/// The length of the longest chain of fallbacks that begins at `model`.
fn depth_below(model: &str, fallbacks: &HashMap<String, Vec<String>>) -> usize {
    let next = |model: &str| fallbacks.get(model).into_iter().flatten().map(String::as_str).collect();
    chain_length(model, &next)
}

/// The length of the longest chain of fallbacks that ends at `model`.
fn depth_above(model: &str, fallbacks: &HashMap<String, Vec<String>>) -> usize {
    let next = |model: &str| {
        let leads_here = |(_, named): &(&String, &Vec<String>)| named.iter().any(|name| name == model);
        fallbacks.iter().filter(leads_here).map(|(name, _)| name.as_str()).collect()
    };
    chain_length(model, &next)
}

/// How many steps of `next` are possible from `model` on, counted up to one more than allowed. Each step keeps
/// only the set of models it reaches, so that neither circles nor many ways to one model cost more.
fn chain_length<'a>(model: &'a str, next: &dyn Fn(&'a str) -> Vec<&'a str>) -> usize {
    let mut reached = HashSet::from([model]);
    for length in 0..=MAX_FALLBACK_DEPTH {
        reached = reached.into_iter().flat_map(next).collect();
        if reached.is_empty() {
            return length;
        }
    }
    MAX_FALLBACK_DEPTH + 1
}

fn leads_to(from: &str, wanted: &str, fallbacks: &HashMap<String, Vec<String>>) -> bool {
    let mut seen = HashSet::new();
    let mut open = vec![from];
    while let Some(model) = open.pop() {
        if model == wanted {
            return true;
        }
        if seen.insert(model) {
            open.extend(fallbacks.get(model).into_iter().flatten().map(String::as_str));
        }
    }
    false
}
