//! The result of a look-up: a host with its names and addresses.

use std::net::IpAddr;

/// A host: its proper name, its other names and its addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The canonical name.
    pub name: String,
    /// Further names, without repetition.
    pub aliases: Vec<String>,
    /// The addresses, without repetition where they come from a file.
    pub addresses: Vec<IpAddr>,
}

impl Answer {
    /// Returns a host with names, of which the first is the proper one, and an address.
    #[must_use]
    pub fn new(names: &[String], address: IpAddr) -> Self {
        let mut names = names.iter().cloned();
        Self {
            name: names.next().unwrap_or_default(),
            aliases: names.collect(),
            addresses: vec![address],
        }
    }

    /// Adds further names and a further address.
    pub fn add(&mut self, names: &[String], address: IpAddr) {
        for name in names {
            if *name != self.name && !self.aliases.contains(name) {
                self.aliases.push(name.clone());
            }
        }
        if !self.addresses.contains(&address) {
            self.addresses.push(address);
        }
    }
}
