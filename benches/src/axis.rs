//! Where a value stands on an axis, and which values are named there.

/// One direction of a plot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Axis {
    log: bool,
    from: f64,
    to: f64,
}

impl Axis {
    /// From 0 to a round number above all values.
    pub(crate) fn linear(values: impl Iterator<Item = f64>) -> Self {
        let most = values.fold(0.0, f64::max).max(f64::MIN_POSITIVE);
        let step = step(most);
        Self { log: false, from: 0.0, to: (most / step).ceil() * step }
    }

    /// From the 1, 2 or 5 below all values to the one above.
    pub(crate) fn log(values: impl Iterator<Item = f64>) -> Self {
        let (least, most) =
            values.fold((f64::INFINITY, 0.0), |(least, most), value| (value.min(least), value.max(most)));
        Self { log: true, from: below(least), to: above(most) }
    }

    /// 0 at the axis's start, 1 at its end.
    pub(crate) fn place(&self, value: f64) -> f64 {
        if self.log {
            (value / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        }
    }

    /// The values to name.
    pub(crate) fn ticks(&self) -> Vec<f64> {
        if self.log { self.log_ticks() } else { self.linear_ticks() }
    }

    fn linear_ticks(&self) -> Vec<f64> {
        let step = step(self.to);
        (0..=(self.to / step).round() as u32).map(|at| f64::from(at) * step).collect()
    }

    /// Powers of ten, and 2 and 5 times them where there are few.
    fn log_ticks(&self) -> Vec<f64> {
        let decades = (self.to / self.from).log10();
        let digits: &[f64] = if decades > 3.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let powers = self.from.log10().floor() as i32..=self.to.log10().ceil() as i32;
        let ticks = powers.flat_map(|power| digits.iter().map(move |digit| digit * 10_f64.powi(power)));
        ticks.filter(|tick| *tick >= self.from * 0.999 && *tick <= self.to * 1.001).collect()
    }
}

/// 1, 2 or 5 times a power of ten, so that about six of them make `most`.
fn step(most: f64) -> f64 {
    above(most / 6.0)
}

fn above(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let digits = [1.0, 2.0, 5.0, 10.0];
    digits.map(|digit| digit * power).into_iter().find(|round| *round >= value * 0.999).unwrap_or(value)
}

fn below(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let digits = [5.0, 2.0, 1.0];
    digits.map(|digit| digit * power).into_iter().find(|round| *round <= value * 1.001).unwrap_or(value)
}

/// A number as an axis names it: `0.5`, `20`, `3k`, `1M`.
pub(crate) fn name(value: f64) -> String {
    let (scaled, unit) = match value {
        value if value >= 1e6 => (value / 1e6, "M"),
        value if value >= 1e3 => (value / 1e3, "k"),
        value => (value, ""),
    };
    let digits = format!("{scaled:.3}");
    format!("{}{unit}", digits.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_axis_starts_at_zero_and_ends_at_a_round_number() {
        let axis = Axis::linear([3.0, 11.0].into_iter());
        assert_eq!(axis.ticks(), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
        assert!((axis.place(6.0) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_log_axis_spends_the_same_room_on_every_decade() {
        let axis = Axis::log([1.0, 100_000.0].into_iter());
        assert_eq!(axis.ticks(), [1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0]);
        assert!((axis.place(10.0) - 0.2).abs() < 1e-9);
    }

    #[test]
    fn a_short_log_axis_names_twos_and_fives_too() {
        assert_eq!(Axis::log([80.0, 450.0].into_iter()).ticks(), [50.0, 100.0, 200.0, 500.0]);
    }

    #[test]
    fn names_are_short() {
        assert_eq!([0.5, 20.0, 2_500.0, 1e6].map(name), ["0.5", "20", "2.5k", "1M"]);
    }
}
