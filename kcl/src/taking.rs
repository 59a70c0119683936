//! Which leases a worker takes, without a leader: the algorithm of KCL 2.x, over plain data.
//!
//! Expiry is an observation on the worker's own monotonic clock: a lease is alive while its counter
//! changes. No timestamp is stored or compared.

use crate::lease::Lease;
use runtime::Chance;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// What a worker remembers about the leases from one look at the table to the next.
#[derive(Debug, Default, Clone)]
pub struct Observations(BTreeMap<String, Seen>);

#[derive(Debug, Clone, Copy, PartialEq)]
struct Seen {
    counter: u64,
    /// When the counter was last seen to change; `None` = longer ago than anything.
    changed: Option<Instant>,
}

impl Observations {
    /// Takes in a look at the table that began at `at`. Leases that are gone are forgotten.
    pub fn update(&mut self, leases: &[Lease], at: Instant) {
        let before = std::mem::take(&mut self.0);
        self.0 = leases
            .iter()
            .map(|lease| {
                let changed = match before.get(&lease.key) {
                    Some(seen) if seen.counter == lease.counter => seen.changed,
                    // Unowned at first sight: free at once. Owned: assumed alive until now.
                    None if lease.owner.is_none() => None,
                    _ => Some(at),
                };
                (
                    lease.key.clone(),
                    Seen {
                        counter: lease.counter,
                        changed,
                    },
                )
            })
            .collect();
    }

    /// True when the counter has not changed for longer than `failover` before `now`.
    fn is_older(&self, key: &str, age: Duration, now: Instant) -> bool {
        match self.0.get(key) {
            Some(Seen {
                changed: Some(at), ..
            }) => now.saturating_duration_since(*at) > age,
            Some(Seen { changed: None, .. }) => true,
            None => false,
        }
    }
}

/// How a worker takes leases.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct TakingRules {
    /// A lease whose counter stands still for longer is expired.
    pub failover: Duration,
    /// The worker holds no more than this.
    pub max_leases: usize,
    /// No more than this are taken from a living worker at a time.
    pub max_steal: usize,
    /// Take leases that nobody renewed for three failover times, whatever the fair share is.
    pub priority: bool,
}

impl TakingRules {
    /// The rules of KCL's defaults for the given failover time.
    #[must_use]
    pub const fn new(failover: Duration) -> Self {
        Self {
            failover,
            max_leases: usize::MAX,
            max_steal: 1,
            priority: true,
        }
    }
}

/// Why a lease is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Why {
    /// The row names this worker, but it does not hold the lease: it was restarted under the same
    /// name, or missed the answer to a take, or could not renew for a while.
    Resumed,
    /// Nobody owned it.
    Unowned,
    /// Its owner stopped renewing it.
    Expired,
    /// Its owner lives and has more than its share.
    Stolen,
}

/// A lease to take, as it was seen: the write is conditional on its counter.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Take {
    /// The lease.
    pub lease: Lease,
    /// Why.
    pub why: Why,
}

/// What a look at the table leads to.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Plan {
    /// Leases to take, in this order.
    pub takes: Vec<Take>,
    /// How many more leases than [`TakingRules::max_leases`] the worker's fair share is.
    pub spillover: usize,
}

/// Plans one run of worker `me`, which at present holds the leases that `is_held` names.
///
/// Finished leases are nobody's: they need no owner and count for nobody. `leases` must be those that
/// [`Observations::update`] saw last.
#[must_use]
pub fn plan(
    leases: &[Lease],
    seen: &Observations,
    me: &str,
    is_held: &dyn Fn(&str) -> bool,
    rules: &TakingRules,
    now: Instant,
    chance: &Chance,
) -> Plan {
    let leases: Vec<&Lease> = leases.iter().filter(|l| !l.is_finished()).collect();
    let mine = |lease: &Lease| lease.owner.as_deref() == Some(me);
    let mut takes: Vec<Take> = leases
        .iter()
        .filter(|l| mine(l) && !is_held(&l.key) && l.checkpoint_owner.is_none())
        .map(|l| Take {
            lease: (*l).clone(),
            why: Why::Resumed,
        })
        .collect();

    // A lease in this worker's name is its own, however old: it is either held or being resumed.
    let is_available = |lease: &Lease| {
        !mine(lease) && (lease.owner.is_none() || seen.is_older(&lease.key, rules.failover, now))
    };
    let mut available: Vec<&Lease> = leases.iter().copied().filter(|l| is_available(l)).collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::from([(me, 0)]);
    for lease in leases.iter().filter(|l| !is_available(l)) {
        if let Some(owner) = lease.owner.as_deref() {
            *counts.entry(owner).or_default() += 1;
        }
    }
    let my_count = counts.get(me).copied().unwrap_or(0);
    let share = leases.len().div_ceil(counts.len().max(1)).max(1);
    let target = share.min(rules.max_leases);
    let mut plan = Plan {
        takes: Vec::new(),
        spillover: share - target,
    };

    let very_old = |lease: &&&Lease| {
        rules.priority && seen.is_older(&lease.key, rules.failover.saturating_mul(3), now)
    };
    let mut old: Vec<&Lease> = available.iter().filter(very_old).copied().collect();
    let need = target.saturating_sub(my_count);
    if !old.is_empty() {
        chance.shuffle(&mut old);
        let room = rules.max_leases.saturating_sub(my_count);
        takes.extend(old.into_iter().take(room).map(free));
    } else if need > 0 && !available.is_empty() {
        chance.shuffle(&mut available);
        takes.extend(available.into_iter().take(need).map(free));
    } else if need > 0 {
        takes.extend(steals(&leases, &counts, me, target, need, rules, chance));
    }
    plan.takes = takes;
    plan
}

fn free(lease: &Lease) -> Take {
    let why = if lease.owner.is_some() {
        Why::Expired
    } else {
        Why::Unowned
    };
    Take {
        lease: lease.clone(),
        why,
    }
}

/// From the worker that has most (the first by name of several).
fn steals(
    leases: &[&Lease],
    counts: &BTreeMap<&str, usize>,
    me: &str,
    target: usize,
    need: usize,
    rules: &TakingRules,
    chance: &Chance,
) -> Vec<Take> {
    let others = counts.iter().filter(|(owner, _)| **owner != me);
    let Some((victim, count)) = others.max_by(|a, b| a.1.cmp(b.1).then_with(|| b.0.cmp(a.0)))
    else {
        return Vec::new();
    };
    if *count < target {
        return Vec::new();
    }
    let mut n = need.min(count - target);
    if n == 0 && need > 1 {
        n = 1;
    }
    let mut theirs: Vec<&Lease> = leases
        .iter()
        .copied()
        .filter(|l| l.owner.as_deref() == Some(*victim))
        .collect();
    chance.shuffle(&mut theirs);
    theirs
        .into_iter()
        .take(n.min(rules.max_steal))
        .map(|lease| Take {
            lease: lease.clone(),
            why: Why::Stolen,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Position;

    const F: Duration = Duration::from_secs(10);

    fn lease(n: usize, owner: Option<&str>, counter: u64) -> Lease {
        let mut lease = Lease::new(format!("shardId-{n:012}"), Position::TRIM_HORIZON);
        lease.owner = owner.map(str::to_owned);
        lease.counter = counter;
        lease
    }

    /// `owners` of the leases in order, none finished, all just renewed but the unowned.
    fn fleet(owners: &[Option<&str>]) -> Vec<Lease> {
        owners
            .iter()
            .enumerate()
            .map(|(n, owner)| lease(n, *owner, 5))
            .collect()
    }

    fn run(leases: &[Lease], me: &str, rules: TakingRules) -> Vec<(String, Why)> {
        let mut seen = Observations::default();
        let now = Instant::now();
        seen.update(leases, now);
        names(&plan(
            leases,
            &seen,
            me,
            &|_| true,
            &rules,
            now,
            &Chance::seeded(1),
        ))
    }

    fn names(plan: &Plan) -> Vec<(String, Why)> {
        let mut names: Vec<_> = plan
            .takes
            .iter()
            .map(|t| (t.lease.key.clone(), t.why))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn expiry_is_what_this_worker_saw_on_its_own_clock() {
        let start = Instant::now();
        let mut seen = Observations::default();
        let at = |secs| start + Duration::from_secs(secs);
        seen.update(&[lease(0, Some("a"), 1), lease(1, None, 0)], at(0));
        let key = |n: usize| format!("shardId-{n:012}");
        assert!(
            !seen.is_older(&key(0), F, at(10)),
            "exactly the failover time is not expired"
        );
        assert!(seen.is_older(&key(0), F, at(11)));
        assert!(
            seen.is_older(&key(1), F * 3, at(0)),
            "unowned at first sight is very old"
        );
        // A different counter is a sign of life, also a smaller one (the row was made anew).
        seen.update(&[lease(0, Some("a"), 2), lease(1, Some("b"), 1)], at(12));
        assert!(!seen.is_older(&key(0), F, at(22)));
        assert!(!seen.is_older(&key(1), F, at(22)));
        seen.update(&[lease(0, Some("a"), 1)], at(20));
        assert!(!seen.is_older(&key(0), F, at(30)));
        assert!(seen.is_older(&key(0), F, at(31)));
        assert!(
            !seen.is_older(&key(1), F, at(99)),
            "a lease that is gone is forgotten"
        );
    }

    #[test]
    fn fair_shares() {
        use Why::{Stolen, Unowned};
        let a = Some("a");
        let b = Some("b");
        let plain = TakingRules {
            priority: false,
            ..TakingRules::new(F)
        };
        // Unowned leases, alone: all of them. Beside another worker with some: up to the share.
        assert_eq!(run(&fleet(&[None, None, None]), "me", plain).len(), 3);
        assert_eq!(
            run(&fleet(&[None, None, None, None, a, a]), "me", plain).len(),
            3
        );
        // With priority all the unowned ones, whatever the share.
        let taken = run(
            &fleet(&[None, None, None, None, a, a]),
            "me",
            TakingRules::new(F),
        );
        assert_eq!(taken.len(), 4);
        assert!(taken.iter().all(|t| t.1 == Unowned));
        // Balanced within one: nothing to do.
        assert_eq!(run(&fleet(&[a, a, Some("me")]), "me", plain), []);
        assert_eq!(
            run(&fleet(&[a]), "me", plain),
            [],
            "fewer leases than workers"
        );
        // One at a time from the one that has most.
        let taken = run(&fleet(&[a, a, a, a, b, b]), "me", plain);
        assert_eq!(taken.len(), 1);
        assert_eq!(taken[0].1, Stolen);
        assert!(
            taken[0].0.as_str() < "shardId-000000000004",
            "from a, which has most"
        );
        let three = TakingRules {
            max_steal: 3,
            ..plain
        };
        assert_eq!(
            run(&fleet(&[a, a, a, a, b, b]), "me", three).len(),
            2,
            "a keeps its share"
        );
        // Everyone has exactly the share but me, who lacks two: one is taken nevertheless.
        let owners = [a, a, a, b, b, b, Some("me")];
        assert_eq!(run(&fleet(&owners), "me", plain).len(), 1);
        // A cap below the share.
        let capped = TakingRules {
            max_leases: 1,
            ..plain
        };
        assert_eq!(run(&fleet(&[None, None, None]), "me", capped).len(), 1);
        assert_eq!(run(&fleet(&[None, None, Some("me")]), "me", capped), []);
    }

    #[test]
    fn a_dead_workers_leases_are_taken_and_count_for_nobody() {
        let leases = fleet(&[Some("dead"), Some("dead"), Some("me"), Some("me")]);
        let mut seen = Observations::default();
        let start = Instant::now();
        seen.update(&leases, start);
        let mut later = leases;
        later[2].counter += 1;
        later[3].counter += 1;
        let now = start + F + Duration::from_millis(1);
        seen.update(&later, now);
        let rules = TakingRules::new(F);
        let plan = plan(
            &later,
            &seen,
            "me",
            &|_| true,
            &rules,
            now,
            &Chance::seeded(1),
        );
        assert_eq!(
            names(&plan),
            [
                ("shardId-000000000000".to_owned(), Why::Expired),
                ("shardId-000000000001".to_owned(), Why::Expired)
            ]
        );
    }

    #[test]
    fn a_row_in_my_name_that_i_do_not_hold_is_resumed() {
        let mut leases = fleet(&[Some("me"), Some("me"), Some("me")]);
        leases[1].checkpoint_owner = Some("other".to_owned());
        let seen = {
            let mut seen = Observations::default();
            seen.update(&leases, Instant::now());
            seen
        };
        let held = |key: &str| key.ends_with('2');
        let rules = TakingRules::new(F);
        let now = Instant::now();
        let plan = plan(&leases, &seen, "me", &held, &rules, now, &Chance::seeded(1));
        assert_eq!(
            names(&plan),
            [("shardId-000000000000".to_owned(), Why::Resumed)]
        );
    }

    #[test]
    fn finished_leases_are_nobodys() {
        let mut leases = fleet(&[None, Some("a"), Some("a"), Some("a"), Some("me")]);
        for lease in &mut leases[..4] {
            lease.checkpoint = Position::SHARD_END;
        }
        assert_eq!(run(&leases, "me", TakingRules::new(F)), []);
    }

    mod properties {
        use super::*;
        use proptest::prelude::*;

        proptest! {
            /// Whatever the beginning, workers that look at the table in turn come to own every lease,
            /// balanced within one, and then leave it at that.
            #[test]
            fn workers_come_to_a_balance_and_rest(
                leases in 1usize..30,
                workers in 1usize..6,
                owners in proptest::collection::vec(proptest::option::of(0usize..6), 30),
                seed: u64,
            ) {
                let name = |n: usize| format!("w{n}");
                let mut table: Vec<Lease> = (0..leases)
                    .map(|n| lease(n, owners[n].filter(|o| *o < workers).map(name).as_deref(), 1))
                    .collect();
                let rules = TakingRules { priority: false, ..TakingRules::new(F) };
                let chance = Chance::seeded(seed);
                let mut seen = vec![Observations::default(); workers];
                let mut now = Instant::now();
                let mut quiet = 0;
                for _ in 0..leases * workers * 4 {
                    for (worker, seen) in seen.iter_mut().enumerate() {
                        now += Duration::from_secs(1);
                        for lease in &mut table {
                            lease.counter += 1;
                        }
                        seen.update(&table, now);
                        let me = name(worker);
                        let plan =
                            plan(&table, seen, &me, &|_| true, &rules, now, &chance);
                        quiet = if plan.takes.is_empty() { quiet + 1 } else { 0 };
                        for take in plan.takes {
                            let row = table.iter_mut().find(|l| l.key == take.lease.key).unwrap();
                            prop_assert!(row.owner.as_deref() != Some(&me), "took its own");
                            row.owner = Some(me.clone());
                        }
                    }
                }
                prop_assert!(quiet >= workers, "still moving");
                let count = |worker: usize| {
                    table.iter().filter(|l| l.owner == Some(name(worker))).count()
                };
                let counts: Vec<usize> = (0..workers).map(count).collect();
                prop_assert_eq!(counts.iter().sum::<usize>(), leases);
                let (min, max) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
                prop_assert!(max - min <= 1 || *max <= leases.div_ceil(workers), "{:?}", counts);
            }
        }
    }
}
