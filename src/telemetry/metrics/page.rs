//! The page: every family with its samples, written by the library in either format.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabel, EncodeLabelSet, LabelSetEncoder, NoLabelSet, prometheus_text,
    text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::families::{self, Family, Kind};
use super::format::Format;
use super::histogram::Histogram;
use super::life::{Counted, Labels};
use super::process::Process;
use super::sizes::Sizes;
use super::state::{self, State};
use super::totals::Totals;

/// The samples of all families.
#[derive(Debug, Default)]
pub(super) struct Page {
    counts: BTreeMap<&'static str, BTreeMap<Labels, u64>>,
    values: BTreeMap<&'static str, BTreeMap<Labels, f64>>,
    histograms: BTreeMap<&'static str, BTreeMap<Labels, Histogram>>,
    sizes: BTreeMap<&'static str, BTreeMap<Labels, Sizes>>,
}

impl Page {
    pub(super) fn totals(&mut self, totals: &Totals) {
        self.value(&families::REQUESTS_ACTIVE, Labels::new(), totals.active as f64);
        self.counts.extend(totals.counts.clone());
        self.histograms.extend(totals.histograms.clone());
        self.sizes.extend(totals.sizes.clone());
    }

    pub(super) fn life(&mut self, life: &Counted) {
        for (family, counts) in &life.counts {
            let known = self.counts.entry(family).or_default();
            for (labels, count) in counts {
                *known.entry(labels.clone()).or_default() += count;
            }
        }
        let durations = life.login_durations.iter();
        let durations =
            durations.map(|(upstream, took)| (vec![Arc::clone(upstream)], took.clone()));
        self.histograms.insert(families::LOGIN_DURATION.name, durations.collect());
        self.value(&families::AUDIT_FAILING, Labels::new(), flag(life.is_audit_failing));
        // Theirs is the only series: it is there before something happens.
        for family in [
            &families::REVOCATIONS,
            &families::AUDIT_FAILURES,
            &families::AUDIT_LOST,
            &families::EVENTS_DROPPED,
        ] {
            self.counts.entry(family.name).or_default().entry(Labels::new()).or_default();
        }
    }

    pub(super) fn state(&mut self, state: &State) {
        state.accounts.iter().for_each(|account| self.account(account));
        for upstream in &state.upstreams {
            let of = |words: &[&str]| labels(&[&upstream.upstream], words);
            let waiters = upstream.login_waiters as f64;
            self.value(&families::LOGIN_WAITERS, of(&[]), waiters);
            self.value(&families::CIRCUIT_OPEN, of(&[]), flag(upstream.is_circuit_open));
            self.value(&families::ADDRESSES, of(&["used"]), upstream.addresses_used as f64);
            let left_out = upstream.addresses_left_out as f64;
            self.value(&families::ADDRESSES, of(&["left_out"]), left_out);
        }
        for limit in &state.limits {
            self.value(&families::LIMIT_WAITING, labels(&[], &[limit.limit]), limit.waiting as f64);
            for (decision, count) in [
                ("admitted", limit.admitted),
                ("waited", limit.waited),
                ("rate_limited", limit.rate_limited),
                ("overloaded", limit.overloaded),
            ] {
                let labels = labels(&[], &[limit.limit, decision]);
                self.count(&families::LIMIT_DECISIONS, labels, count);
            }
        }
        for listener in &state.listeners {
            let name = vec![Arc::clone(&listener.listener)];
            self.value(&families::CONNECTIONS, name.clone(), listener.open as f64);
            self.count(&families::CONNECTIONS_ACCEPTED, name, listener.accepted);
        }
        for (listener, reason, count) in &state.rejected {
            self.count(&families::REJECTED, labels(&[listener], &[reason]), *count);
        }
        for (family, lost) in [
            (&families::ACCESS_LOG_LOST, state.access_log_lost),
            (&families::SPANS_LOST, state.spans_lost),
        ] {
            if let Some(lost) = lost {
                self.count(family, Labels::new(), lost);
            }
        }
        for load in State::LOADS {
            self.value(&families::LOAD, labels(&[], &[load]), flag(load == state.load));
        }
    }

    fn account(&mut self, account: &state::Account) {
        let of = |words: &[&str]| labels(&[&account.upstream, &account.account], words);
        for (state, count) in [
            ("logging_in", account.logging_in),
            ("live", account.live),
            ("renewing", account.renewing),
        ] {
            self.value(&families::SESSIONS, of(&[state]), count as f64);
        }
        if let Some(expires) = account.expires {
            self.value(&families::SESSION_EXPIRY, of(&[]), seconds_since_1970(expires));
        }
        self.value(&families::ATTEMPTS_LEFT, of(&[]), account.attempts_left.into());
        self.value(&families::ATTEMPTS_MAX, of(&[]), account.attempts_max.into());
        for state in state::Account::STATES {
            self.value(&families::ACCOUNT_STATE, of(&[state]), flag(state == account.state));
        }
        self.value(&families::HELD_BACK, of(&[]), account.held_back.as_secs_f64());
        self.value(&families::PAUSED, of(&[]), account.paused.as_secs_f64());
    }

    pub(super) fn config(&mut self, is_last_one: bool, since: SystemTime) {
        self.value(&families::RELOAD_SUCCESSFUL, Labels::new(), flag(is_last_one));
        self.value(&families::RELOAD_TIME, Labels::new(), seconds_since_1970(since));
        self.value(&families::BUILD, labels(&[], &[env!("CARGO_PKG_VERSION")]), 1.0);
    }

    pub(super) fn process(&mut self, process: &Process) {
        let values = [
            (&families::CPU, process.cpu_seconds),
            (&families::MEMORY, process.resident_bytes.map(|bytes| bytes as f64)),
            (&families::DESCRIPTORS, process.descriptors.map(|open| open as f64)),
            (&families::DESCRIPTORS_MAX, process.descriptors_max.map(|most| most as f64)),
            (&families::START_TIME, process.started_at),
        ];
        for (family, value) in values {
            if let Some(value) = value {
                self.value(family, Labels::new(), value);
            }
        }
    }

    fn value(&mut self, family: &Family, labels: Labels, value: f64) {
        self.values.entry(family.name).or_default().insert(labels, value);
    }

    fn count(&mut self, family: &Family, labels: Labels, count: u64) {
        self.counts.entry(family.name).or_default().insert(labels, count);
    }

    pub(super) fn render(self, format: Format) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut out = String::new();
        // A text takes whatever is written.
        _ = match format {
            Format::Text => prometheus_text::encode(&mut out, &registry),
            Format::OpenMetrics => text::encode(&mut out, &registry),
        };
        out
    }

    fn family(&self, family: &Family, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (base, unit) = parts(family.name);
        let kind = match family.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
        };
        let mut metric = encoder.encode_descriptor(base, family.help, unit.as_ref(), kind)?;
        for (labels, count) in self.counts.get(family.name).into_iter().flatten() {
            let set = LabelSet(family, labels);
            metric.encode_family(&set)?.encode_counter::<NoLabelSet, _, f64>(count, None)?;
        }
        for (labels, value) in self.values.get(family.name).into_iter().flatten() {
            let set = LabelSet(family, labels);
            let mut sample = metric.encode_family(&set)?;
            match family.kind {
                Kind::Counter => sample.encode_counter::<NoLabelSet, _, f64>(value, None)?,
                Kind::Gauge | Kind::Histogram => sample.encode_gauge(value)?,
            }
        }
        for (labels, histogram) in self.histograms.get(family.name).into_iter().flatten() {
            let set = LabelSet(family, labels);
            let (sum, count) = (histogram.sum(), histogram.count());
            let mut sample = metric.encode_family(&set)?;
            sample.encode_histogram::<NoLabelSet>(sum, count, &histogram.buckets(), None)?;
        }
        for (labels, sizes) in self.sizes.get(family.name).into_iter().flatten() {
            let set = LabelSet(family, labels);
            let (sum, count) = (sizes.sum() as f64, sizes.count());
            let mut sample = metric.encode_family(&set)?;
            sample.encode_histogram::<NoLabelSet>(sum, count, &sizes.buckets(), None)?;
        }
        Ok(())
    }
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        families::ALL.iter().try_for_each(|family| self.family(family, &mut encoder))
    }
}

/// A family's labels with the values of one series; one without a value is not there.
struct LabelSet<'a>(&'a Family, &'a Labels);

impl EncodeLabelSet for LabelSet<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let labels = self.0.labels.iter().zip(self.1);
        for (name, value) in labels.filter(|(_, value)| !value.is_empty()) {
            (*name, &**value).encode(encoder.encode_label())?;
        }
        Ok(())
    }
}

/// A name as the library wants it: it adds unit and `_total` itself.
fn parts(name: &'static str) -> (&'static str, Option<Unit>) {
    let base = name.strip_suffix("_total").unwrap_or(name);
    let with = |unit, end| base.strip_suffix(end).map(|base| (base, Some(unit)));
    let with_unit = with(Unit::Seconds, "_seconds").or_else(|| with(Unit::Bytes, "_bytes"));
    with_unit.unwrap_or((base, None))
}

fn labels(names: &[&Arc<str>], words: &[&str]) -> Labels {
    let words = words.iter().map(|word| Arc::from(*word));
    names.iter().map(|name| Arc::clone(name)).chain(words).collect()
}

fn flag(is_so: bool) -> f64 {
    if is_so { 1.0 } else { 0.0 }
}

fn seconds_since_1970(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
