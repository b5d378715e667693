//! The file of hosts that need no name server: hosts(5).

use std::collections::HashMap;
use std::net::IpAddr;

/// What `/etc/hosts` says.
pub struct Hosts {
    lines: Vec<(IpAddr, Vec<String>)>,
    by_name: HashMap<String, Vec<usize>>,
    by_address: HashMap<IpAddr, usize>,
}

impl Hosts {
    /// Reads the text of the file; lines that make no sense count for nothing.
    pub fn parse(text: &str) -> Self {
        let mut hosts = Self {
            lines: Vec::new(),
            by_name: HashMap::new(),
            by_address: HashMap::new(),
        };
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let address = words.next().and_then(|word| word.parse().ok());
            let names: Vec<String> = words.map(str::to_owned).collect();
            if let Some(address) = address
                && !names.is_empty()
            {
                hosts.add(address, names);
            }
        }
        hosts
    }

    fn add(&mut self, address: IpAddr, names: Vec<String>) {
        let number = self.lines.len();
        for name in &names {
            let lines = self.by_name.entry(name.to_ascii_lowercase()).or_default();
            if lines.last() != Some(&number) {
                lines.push(number);
            }
        }
        self.by_address.entry(address).or_insert(number);
        self.lines.push((address, names));
    }

    /// The names of the first line that has `name`, and the addresses of all that do and that `wanted` lets pass.
    pub fn addresses(
        &self,
        name: &str,
        wanted: impl Fn(&IpAddr) -> bool,
    ) -> Option<(&[String], Vec<IpAddr>)> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let mut lines = self
            .by_name
            .get(&name)?
            .iter()
            .filter_map(|&number| self.lines.get(number))
            .filter(|(address, _)| wanted(address))
            .peekable();
        let (_, names) = lines.peek()?;
        let names = names.as_slice();
        let mut addresses = Vec::new();
        for (address, _) in lines {
            if !addresses.contains(address) {
                addresses.push(*address);
            }
        }
        Some((names, addresses))
    }

    /// The names of the first line of an address.
    pub fn names(&self, address: IpAddr) -> Option<&[String]> {
        let number = *self.by_address.get(&address)?;
        self.lines.get(number).map(|(_, names)| names.as_slice())
    }
}
