//! The page of metrics, read as a scraper reads it.

use doorward::telemetry::metrics::Format;

use crate::harness::{Scene, until};

/// The page as text.
pub fn page(scene: &Scene) -> String {
    scene.app().metrics().render(Format::Text)
}

/// The sum of all series of a name that have these labels; nothing where there is none.
pub fn sum_in(page: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let has = |shown: &str, (label, value): &(&str, &str)| {
        let pair = format!("{label}=\"{value}\"");
        shown.starts_with(&pair) || shown.contains(&format!(",{pair}"))
    };
    let samples = page.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (known, shown) = series.split_once('{').unwrap_or((series, ""));
        let is_meant = known == name && labels.iter().all(|label| has(shown, label));
        is_meant.then(|| value.parse::<f64>().unwrap())
    });
    let samples: Vec<f64> = samples.collect();
    (!samples.is_empty()).then(|| samples.iter().sum())
}

/// The same of a scene, with 0 where there is none.
pub fn sum(scene: &Scene, name: &str, labels: &[(&str, &str)]) -> f64 {
    sum_in(&page(scene), name, labels).unwrap_or(0.0)
}

/// Waits until a sum is this one: requests are counted when their answer's body has ended, and events
/// when they are read.
pub async fn counted(scene: &Scene, name: &str, labels: &[(&str, &str)], wanted: f64) {
    let what = format!("{name}{labels:?} is {wanted}");
    until(&what, || sum(scene, name, labels) == wanted).await;
}
