use std::fmt;

/// What a figure counts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unit {
    Seconds,
    Bytes,
}

impl Unit {
    /// How often each side has its turn in a round. Short turns let what else the machine does
    /// fall on both sides alike.
    pub(crate) fn turns(self) -> usize {
        match self {
            Self::Seconds => 5,
            Self::Bytes => 1,
        }
    }
}

/// What a line is to reach.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Aim {
    /// The ratio is at most this.
    Ratio(f64),
    /// Our own figure is at most this.
    Ours(f64),
    /// It is only told.
    Nothing,
}

/// A workload, measured on both sides.
#[derive(Debug)]
pub(crate) struct Line {
    name: String,
    unit: Unit,
    aim: Aim,
    ours: Vec<f64>,
    beside: Vec<f64>,
}

impl Line {
    pub(crate) fn new(name: &str, unit: Unit, aim: Aim) -> Self {
        Self { name: name.to_owned(), unit, aim, ours: Vec::new(), beside: Vec::new() }
    }

    /// Adds a round.
    pub(crate) fn add(&mut self, ours: f64, beside: f64) {
        self.ours.push(ours);
        self.beside.push(beside);
    }

    /// Whether the aim is met, where there is one.
    pub(crate) fn is_met(&self) -> Option<bool> {
        match self.aim {
            Aim::Ratio(most) => Some(median(&self.ratios()) <= most),
            Aim::Ours(most) => Some(median(&self.ours) <= most),
            Aim::Nothing => None,
        }
    }

    fn ratios(&self) -> Vec<f64> {
        self.ours.iter().zip(&self.beside).map(|(ours, beside)| ours / beside).collect()
    }

    fn aim(&self) -> String {
        match self.aim {
            Aim::Ratio(most) => format!("ratio <= {most:.2}"),
            Aim::Ours(most) => format!("ours <= {}", show(most, self.unit)),
            Aim::Nothing => String::new(),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ratios = self.ratios();
        let (least, most) = ends(&ratios);
        // What takes no time on one side has no ratio.
        let ratio = match median(&ratios) {
            ratio if ratio.is_finite() => format!("{ratio:.2} [{least:.2}..{most:.2}]"),
            _ => String::new(),
        };
        let met = match self.is_met() {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        let (ours, beside) = (median(&self.ours), median(&self.beside));
        let (ours, beside) = (show(ours, self.unit), show(beside, self.unit));
        row(f, [&self.name, &ours, &beside, &ratio, &self.aim(), met])
    }
}

fn row(f: &mut impl fmt::Write, [name, ours, beside, ratio, aim, met]: [&str; 6]) -> fmt::Result {
    let line = format!("{name:<48} {ours:>9} {beside:>9}  {ratio:<20}  {aim:<16}  {met}");
    f.write_str(line.trim_end())
}

/// The names of the columns.
pub(crate) fn header() -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = row(&mut text, ["workload", "ours", "beside", "ratio [min..max]", "aim", "met"]);
    text
}

/// How to read the table.
pub(crate) fn legend(rounds: usize) -> String {
    format!(
        "Medians of {rounds} rounds. In a round, ours and what is beside it have {} turns each, one \
         after the other,\nand the round's figures are the medians of its turns; the ratio is ours \
         to beside, smaller is better.\nTimes are those of one operation, or of the whole list or \
         opening. Keys of 13 bytes, values of 256 bytes.",
        Unit::Seconds.turns()
    )
}

/// The middle one, or the mean of the two middle ones.
pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len() / 2, sorted.len() % 2) {
        (0, 0) => f64::NAN,
        (half, 0) => f64::midpoint(sorted[half - 1], sorted[half]),
        (half, _) => sorted[half],
    }
}

fn ends(figures: &[f64]) -> (f64, f64) {
    figures.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), figure| {
        (least.min(*figure), most.max(*figure))
    })
}

fn show(figure: f64, unit: Unit) -> String {
    match unit {
        Unit::Bytes => format!("{:.1} MiB", figure / f64::from(1 << 20)),
        Unit::Seconds if figure < 1e-6 => format!("{:.0} ns", figure * 1e9),
        Unit::Seconds if figure < 1e-3 => format!("{:.1} us", figure * 1e6),
        Unit::Seconds if figure < 1.0 => format!("{:.2} ms", figure * 1e3),
        Unit::Seconds => format!("{figure:.2} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_medians_and_the_ratios_of_its_rounds() {
        let mut line = Line::new("get", Unit::Seconds, Aim::Ratio(1.5));
        for (ours, beside) in [(2e-6, 1e-6), (3e-6, 3e-6), (9e-6, 2e-6), (1e-6, 1e-6)] {
            line.add(ours, beside);
        }
        let shown: Vec<String> = line.to_string().split_whitespace().map(str::to_owned).collect();
        let wanted = "get 2.5 us 1.5 us 1.50 [1.00..4.50] ratio <= 1.50 met";
        assert_eq!(shown.join(" "), wanted);
    }

    #[test]
    fn figures_are_shown_in_their_size() {
        for (figure, unit, shown) in [
            (7e-9, Unit::Seconds, "7 ns"),
            (5e-5, Unit::Seconds, "50.0 us"),
            (0.25, Unit::Seconds, "250.00 ms"),
            (2.0, Unit::Seconds, "2.00 s"),
            (1_572_864.0, Unit::Bytes, "1.5 MiB"),
        ] {
            assert_eq!(show(figure, unit), shown);
        }
    }
}
