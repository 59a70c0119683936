//! What is printed: one line for each figure, with its target.

/// One figure.
#[derive(Debug)]
pub struct Line {
    pub row: String,
    pub measured: String,
    pub target: String,
    /// None where there is no target.
    pub met: Option<bool>,
}

impl Line {
    /// A figure that should be at least `target`.
    pub fn at_least(row: impl Into<String>, measured: String, figure: f64, target: f64) -> Self {
        Self {
            row: row.into(),
            measured,
            target: format!(">= {target}"),
            met: Some(figure >= target),
        }
    }

    /// A figure that should be at most `target`.
    pub fn at_most(row: impl Into<String>, measured: String, figure: f64, target: f64) -> Self {
        Self {
            row: row.into(),
            measured,
            target: format!("<= {target}"),
            met: Some(figure <= target),
        }
    }

    /// A figure to know, without a target.
    pub fn stated(row: impl Into<String>, measured: String) -> Self {
        Self {
            row: row.into(),
            measured,
            target: "-".to_owned(),
            met: None,
        }
    }
}

pub fn print(lines: &[Line]) {
    let row = width(lines, |l| &l.row).max(3);
    let measured = width(lines, |l| &l.measured).max(8);
    let target = width(lines, |l| &l.target).max(6);
    println!(
        "\n{:row$}  {:measured$}  {:target$}",
        "row", "measured", "target"
    );
    for line in lines {
        let met = match line.met {
            Some(true) => "met",
            Some(false) => "NOT MET",
            None => "",
        };
        println!(
            "{:row$}  {:measured$}  {:target$}  {met}",
            line.row, line.measured, line.target
        );
    }
}

fn width(lines: &[Line], text: impl Fn(&Line) -> &str) -> usize {
    lines
        .iter()
        .map(|l| text(l).chars().count())
        .max()
        .unwrap_or(0)
}
