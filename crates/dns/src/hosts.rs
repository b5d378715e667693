//! The file of hosts that need no name server: hosts(5). Names are compared without regard to case.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use crate::answer::Answer;

/// The content of `/etc/hosts`.
#[derive(Clone, Debug)]
pub struct Hosts {
    lines: Vec<(IpAddr, Vec<String>)>,
    by_name: HashMap<String, Vec<usize>>,
    by_address: HashMap<IpAddr, usize>,
}

impl Hosts {
    /// Reads the text of the file. Lines without an address and a name are ignored.
    #[must_use]
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

    /// Returns the host of `name` in the file: the first name of its line, the other names, and its addresses of the families
    /// that are asked for.
    #[must_use]
    pub fn addresses(&self, name: &str, v4: bool, v6: bool) -> Option<Answer> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let mut answer: Option<Answer> = None;
        for &number in self.by_name.get(&name)? {
            let (address, names) = self.lines.get(number)?;
            let address = match address {
                IpAddr::V4(_) if v4 => *address,
                IpAddr::V6(_) if v6 => *address,
                // As in libc, `::1` stands for 127.0.0.1 where only IPv4 is asked for, as the name means this host.
                IpAddr::V6(six) if v4 && six.is_loopback() => Ipv4Addr::LOCALHOST.into(),
                _ => continue,
            };
            match &mut answer {
                None => answer = Some(Answer::new(names, address)),
                Some(answer) => answer.add(names, address),
            }
        }
        answer
    }

    /// Returns the host in the first line with this address.
    #[must_use]
    pub fn names(&self, address: IpAddr) -> Option<Answer> {
        let (address, names) = self.lines.get(*self.by_address.get(&address)?)?;
        Some(Answer::new(names, *address))
    }
}
