//! The way that a victim takes through its operation, and how to get to one of its points fast.
//!
//! A single step costs much more than a breakpoint: on a virtual machine the hypervisor sees each step. So the
//! tracer goes through the operation once, step by step, and notes the address of each instruction. Later victims
//! are brought to an instruction by a few breakpoints, which follow from the notes.

/// The addresses of the instructions of an operation, in order; the last is the end's, which is not part of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Path {
    addresses: Vec<u64>,
    /// Where each instruction was run before. 0 means never, 1 means at point 0, and so on.
    before: Vec<usize>,
}

/// How to get on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hop {
    /// Run one instruction.
    Step,
    /// Run up to this address.
    Run(u64),
}

impl Path {
    /// The path of these addresses.
    pub(crate) fn new(addresses: Vec<u64>) -> Self {
        let mut last = std::collections::HashMap::new();
        let before = addresses
            .iter()
            .enumerate()
            .map(|(point, &address)| last.insert(address, point + 1).unwrap_or(0))
            .collect();
        Self { addresses, before }
    }

    /// How many instructions the operation has.
    pub(crate) fn len(&self) -> usize {
        self.addresses.len().saturating_sub(1)
    }

    /// How to get from the beginning to this point with few hops.
    ///
    /// A breakpoint stops at the first time that its instruction is run. So the hop to a point has to begin after
    /// the instruction's time before. That may take another hop, and so on.
    pub(crate) fn hops(&self, point: usize) -> Vec<Hop> {
        let (mut hops, mut to) = (Vec::new(), point);
        while to > 0 {
            let first = self.before[to];
            if first == 0 {
                hops.push(Hop::Run(self.addresses[to]));
                break;
            }
            // Of the points after that time, one that can itself be reached from far away. Each of them has
            // another address.
            let Some(from) = (first..to).min_by_key(|&from| (self.before[from], from)) else {
                hops.push(Hop::Step);
                to -= 1;
                continue;
            };
            hops.push(Hop::Run(self.addresses[to]));
            to = from;
        }
        hops.reverse();
        hops
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the hops lead on the same path.
    fn follow(addresses: &[u64], hops: &[Hop]) -> usize {
        hops.iter().fold(0, |at, hop| match hop {
            Hop::Step => at + 1,
            Hop::Run(address) => {
                assert_ne!(addresses[at], *address, "a breakpoint where the victim stands");
                at + 1 + addresses[at + 1..].iter().position(|next| next == address).unwrap()
            }
        })
    }

    #[test]
    fn hops_lead_to_each_point_of_a_path_with_loops() {
        let body = [20, 21, 22, 23, 21, 22, 23];
        let mut addresses = vec![10, 11, 12];
        for turn in 0..9 {
            addresses.extend(body);
            addresses.push(if turn % 3 == 0 { 30 } else { 31 });
        }
        // A repeated instruction, and the way back to the beginning.
        addresses.extend([40, 40, 40, 40, 10, 50]);
        let path = Path::new(addresses.clone());
        assert_eq!(path.len(), addresses.len() - 1);
        let mut longest = 0;
        for point in 0..=path.len() {
            let hops = path.hops(point);
            assert_eq!(follow(&addresses, &hops), point, "{hops:?}");
            longest = longest.max(hops.len());
        }
        assert!(
            longest < path.len() / 2,
            "{longest} hops are no shorter than {} steps",
            path.len()
        );
    }
}
