/// How many nodes are read at first, and at most.
const FIRST: usize = 16;
const MOST: usize = 128;
/// How many bytes an answer should have.
const ANSWER_BYTES: usize = 256 << 10;

/// How many nodes are read in one exchange, when nobody knows how large they are: more as long as
/// they are small, and fewer at once when they are not.
#[derive(Debug)]
pub(crate) struct Pace(usize);

impl Default for Pace {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Pace {
    pub(crate) fn nodes(&self) -> usize {
        self.0
    }

    /// Learns from an answer.
    pub(crate) fn saw(&mut self, nodes: usize, bytes: usize) {
        if nodes == 0 {
            return;
        }
        let fitting = ANSWER_BYTES / (bytes / nodes).max(1);
        // A few nodes say little about the others.
        let more = if nodes < self.0 { self.0 } else { self.0 * 2 };
        self.0 = more.min(fitting).clamp(1, MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_nodes_are_read_by_more_and_more_and_large_ones_by_few() {
        let mut pace = Pace::default();
        for (nodes, bytes, next) in [
            (16, 1_600, 32),
            (32, 0, 64),
            (3, 300, 64),
            (64, 6_400, 128),
            (128, 12_800, 128),
            (128, 128 << 20, 1),
            (0, 0, 1),
            (1, 100, 2),
            (2, 64 << 10, 4),
            (4, 256 << 10, 4),
        ] {
            pace.saw(nodes, bytes);
            assert_eq!(pace.nodes(), next, "after {nodes} nodes of {bytes} bytes");
        }
    }
}
