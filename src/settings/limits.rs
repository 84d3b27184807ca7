//! Limits: how much may be asked, by a client, by a route and of an account.

use super::meaning::{Meaning, under};
use super::{Limit, Rate, Rates, written};

impl Meaning<'_> {
    pub(super) fn limit(&mut self, at: &str, written: written::Limit) -> Limit {
        let written::Limit { rate, reads, writes, in_flight_max, waiting_max } = written;
        let are_apart = reads.is_some() || writes.is_some();
        if rate.is_some() && are_apart {
            let message =
                "`rate` counts reads and writes together, and beside it stands a rate of one";
            let fault = self.layers.key_fault(&under(at, "rate"), message);
            self.faults.push(fault.help("give `rate` alone, or `reads` and `writes`"));
        }
        let rate = self.rate(&under(at, "rate"), rate);
        let reads = self.rate(&under(at, "reads"), reads);
        let writes = self.rate(&under(at, "writes"), writes);
        let rates = match are_apart {
            true => Rates::Apart { reads, writes },
            false => Rates::Together(rate),
        };
        Limit { rates, in_flight_max, waiting_max }
    }

    fn rate(&mut self, at: &str, written: Option<written::Rate>) -> Option<Rate> {
        let written = written?;
        // The schema has told what is missing.
        let requests = written.requests?;
        let per = self.duration(&under(at, "per"), &written.per?);
        Some(Rate { requests, per, burst: written.burst.unwrap_or(requests) })
    }
}
