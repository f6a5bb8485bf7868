//! Reading a script's answer: a list of integers.

use redis::Value;
use tollgate_domain::NanoUsd;

use crate::error::LedgerError;

/// The integers of an answer, read from the front.
pub(super) struct Integers<'a> {
    values: &'a [Value],
}

impl<'a> Integers<'a> {
    pub(super) fn new(answer: &'a Value) -> Result<Self, LedgerError> {
        match answer {
            Value::Array(values) => Ok(Self { values }),
            Value::Int(_) => Ok(Self { values: std::slice::from_ref(answer) }),
            _ => Err(unexpected(answer)),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub(super) fn next(&mut self) -> Result<i64, LedgerError> {
        match self.values.split_first() {
            Some((Value::Int(integer), rest)) => {
                self.values = rest;
                Ok(*integer)
            }
            Some((other, _)) => Err(unexpected(other)),
            None => Err(LedgerError::Protocol("a script's answer is too short".to_owned())),
        }
    }

    pub(super) fn next_amount(&mut self) -> Result<NanoUsd, LedgerError> {
        self.next().map(NanoUsd)
    }

    pub(super) fn next_unsigned(&mut self) -> Result<u64, LedgerError> {
        let integer = self.next()?;
        u64::try_from(integer)
            .map_err(|_| LedgerError::Protocol(format!("a script answered {integer} for a count")))
    }

    /// As an index into something of the caller's.
    pub(super) fn next_index(&mut self) -> Result<usize, LedgerError> {
        let integer = self.next_unsigned()?;
        usize::try_from(integer).map_err(|_| LedgerError::Protocol("an index is too large".to_owned()))
    }
}

pub(super) fn unexpected(answer: &Value) -> LedgerError {
    let kind = match answer {
        Value::Nil => "nothing",
        Value::Int(_) => "an integer",
        Value::BulkString(_) | Value::SimpleString(_) | Value::Okay => "a string",
        Value::Array(_) => "a list",
        _ => "something else",
    };
    LedgerError::Protocol(format!("a script answered with {kind} where something else was expected"))
}
