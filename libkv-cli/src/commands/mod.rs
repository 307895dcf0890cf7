pub(crate) mod completions;
pub(crate) mod del;
pub(crate) mod exists;
pub(crate) mod get;
pub(crate) mod ls;
pub(crate) mod put;
pub(crate) mod stat;
pub(crate) mod tree;
