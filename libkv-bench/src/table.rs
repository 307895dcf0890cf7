use std::fmt;

use crate::lab::Sample;

/// What a figure counts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unit {
    Seconds,
    Bytes,
    /// So many of something.
    Count,
}

impl Unit {
    /// How often each side has its turn in a round. Short turns let what else the machine does
    /// fall on both sides alike.
    pub(crate) fn turns(self) -> usize {
        match self {
            Self::Seconds => 5,
            Self::Bytes | Self::Count => 1,
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
    /// The processor's seconds of both.
    cpu: Vec<(f64, f64)>,
}

impl Line {
    pub(crate) fn new(name: &str, unit: Unit, aim: Aim) -> Self {
        let (ours, beside, cpu) = (Vec::new(), Vec::new(), Vec::new());
        Self { name: name.to_owned(), unit, aim, ours, beside, cpu }
    }

    /// Adds a round with the turns of both.
    pub(crate) fn add(&mut self, ours: &[Sample], beside: &[Sample]) {
        let figures = |turns: &[Sample]| turns.iter().map(|turn| turn.figure).collect::<Vec<_>>();
        self.ours.push(median(&figures(ours)));
        self.beside.push(median(&figures(beside)));
        let mean = |turns: &[Sample]| {
            let sum = turns.iter().map(|turn| turn.cpu).sum::<Option<f64>>()?;
            Some(sum / turns.len() as f64)
        };
        self.cpu.extend(mean(ours).zip(mean(beside)));
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

    /// The processor's time of one operation on both sides, where it was taken.
    fn cpu(&self) -> Option<String> {
        let (ours, beside): (Vec<_>, Vec<_>) = self.cpu.iter().copied().unzip();
        let ratios: Vec<_> = self.cpu.iter().map(|(ours, beside)| ours / beside).collect();
        let show = |seconds: &[f64]| show(median(seconds), Unit::Seconds);
        let ratio = median(&ratios);
        (!ratios.is_empty()).then(|| format!("{:>9} {:>9}  {ratio:.2}", show(&ours), show(&beside)))
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
        let cpu = self.cpu().unwrap_or_default();
        row(f, [&self.name, &ours, &beside, &ratio, &self.aim(), met, &cpu])
    }
}

fn row(
    f: &mut impl fmt::Write,
    [name, ours, beside, ratio, aim, met, cpu]: [&str; 7],
) -> fmt::Result {
    let line = format!("{name:<48} {ours:>9} {beside:>9}  {ratio:<20}  {aim:<16}  {met:<6} {cpu}");
    f.write_str(line.trim_end())
}

/// The names of the columns, with those of the processor's time where it is taken.
pub(crate) fn header(with_cpu: bool) -> String {
    let mut text = String::new();
    let cpu = if with_cpu { " cpu ours    beside  ratio" } else { "" };
    // Writing to a String cannot fail.
    let _ = row(&mut text, ["workload", "ours", "beside", "ratio [min..max]", "aim", "met", cpu]);
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
        Unit::Count => format!("{figure:.2}"),
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
            line.add(&[ours.into()], &[beside.into()]);
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
            (4.0, Unit::Count, "4.00"),
        ] {
            assert_eq!(show(figure, unit), shown);
        }
    }
}
