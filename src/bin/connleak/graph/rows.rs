//! The rows of a chart: which samples are drawn, and where lines break.

/// A row that is drawn: a sample, or the edge of a gap, where nothing is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Row {
    Sample(usize),
    /// Right after or right before a sample.
    Edge(usize, f64),
}

impl Row {
    pub fn at(self, times: &[f64]) -> f64 {
        match self {
            Row::Sample(index) => times[index],
            Row::Edge(index, shift) => times[index] + shift,
        }
    }

    pub fn of(self, values: &[f64]) -> f64 {
        match self {
            Row::Sample(index) => values[index],
            Row::Edge(..) => f64::NAN,
        }
    }
}

/// Indices of the rows that are kept: all, or the lowest and the highest of each stretch.
pub fn kept(values: &[f64], most: usize) -> Vec<usize> {
    if values.len() <= most {
        return (0..values.len()).collect();
    }
    let mut rows = Vec::with_capacity(most + 2);
    let width = values.len().div_ceil(most / 2);
    for from in (0..values.len()).step_by(width) {
        let stretch = || (from..values.len().min(from + width)).filter(|index| values[*index].is_finite());
        let lowest = stretch().min_by(|a, b| values[*a].total_cmp(&values[*b]));
        let highest = stretch().max_by(|a, b| values[*a].total_cmp(&values[*b]));
        rows.extend(lowest.into_iter().chain(highest));
    }
    rows.extend([0, values.len() - 1]);
    rows.sort_unstable();
    rows.dedup();
    rows
}

pub fn with_gaps(kept: &[usize], gaps: &[usize]) -> Vec<Row> {
    let mut rows = Vec::with_capacity(kept.len());
    let mut gaps = gaps.iter().copied().peekable();
    for &index in kept {
        let mut edge = None;
        while let Some(before) = gaps.next_if(|before| *before < index) {
            edge = Some(before);
        }
        if let Some(before) = edge {
            rows.extend([Row::Edge(before, 0.001), Row::Edge(index, -0.001)]);
        }
        rows.push(Row::Sample(index));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_and_both_ends_are_kept() {
        let mut values: Vec<f64> = (0..10_000).map(|row| f64::from(row % 7)).collect();
        (values[4321], values[8765], values[17]) = (99.0, -5.0, f64::NAN);
        let rows = kept(&values, 100);
        assert!(rows.len() <= 102 && rows.is_sorted());
        assert!([0, 4321, 8765, 9999].iter().all(|row| rows.contains(row)), "{rows:?}");
        assert!(!rows.contains(&17));
        assert_eq!(kept(&values, 10_000).len(), 10_000);
    }

    #[test]
    fn lines_break_at_gaps_also_where_rows_are_left_out() {
        let rows = with_gaps(&[0, 1, 5, 6], &[1, 3]);
        let values: Vec<f64> = rows.iter().map(|row| row.of(&[1.0; 7])).collect();
        assert_eq!(
            values.iter().map(|value| value.is_nan()).collect::<Vec<_>>(),
            [false, false, true, true, false, false]
        );
        let times: Vec<f64> = (0..7).map(f64::from).collect();
        assert_eq!(rows[2].at(&times), 3.001);
        assert_eq!(rows[3].at(&times), 4.999);
    }
}
