//! What a source gave, kept until it ends or is refused, and renewed before.

use super::{Credentials, CredentialsError, ProvideCredentials};
use crate::sign::Skew;
use runtime::{Chance, WallClock};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// After this a look-up is given up, whatever the source does.
const LONGEST: Duration = Duration::from_secs(120);
/// Credentials are renewed this long before they end, and up to half of it more, by chance: a fleet
/// that was started at once does not ask at once. Those with a short life are renewed in its last
/// third.
const WINDOW: Duration = Duration::from_secs(600);
/// Between two look-ups while the old credentials are valid, whatever they give.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Keeps what a source gave.
///
/// Whoever finds valid credentials takes them and never waits. One look-up is in flight at a time: a
/// renewal in a task of its own while the old ones are valid, else a caller's, whose outcome the others
/// share, a failure too.
#[derive(Debug)]
pub(crate) struct Cached {
    inner: Arc<Inner>,
    renewal: parking_lot::Mutex<Option<AbortHandle>>,
}

/// Where credentials come from, and what their ends are measured by.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) provider: Arc<dyn ProvideCredentials>,
    pub(crate) clock: Arc<dyn WallClock>,
    pub(crate) skew: Skew,
    pub(crate) chance: Chance,
}

#[derive(Debug)]
struct Inner {
    given: Arc<Given>,
    state: parking_lot::Mutex<State>,
    /// Held by the one who asks the source.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    kept: Option<Kept>,
    /// How many look-ups have failed, ever; and the last one's reason.
    failures: u64,
    last: Option<CredentialsError>,
}

#[derive(Debug)]
struct Kept {
    credentials: Credentials,
    /// From when on they are renewed; never, where nobody said when they end.
    renew_from: Option<SystemTime>,
    /// Not before this is the source asked again.
    not_before: Option<Instant>,
    /// Failures since they were given.
    failed: u32,
    refused: bool,
}

/// What a request needs.
#[derive(Debug, PartialEq, Eq)]
enum Need {
    /// Nothing: what is kept is good.
    Nothing,
    /// What is kept is good, and to be renewed.
    Renewal,
    /// Other credentials than what is kept.
    Others,
}

impl Kept {
    fn new(credentials: Credentials, now: SystemTime, unit: f64) -> Self {
        let renew_from = credentials.expiry().map(|end| renew_from(now, end, unit));
        Self {
            credentials,
            renew_from,
            not_before: None,
            failed: 0,
            refused: false,
        }
    }

    fn is_over(&self, now: SystemTime) -> bool {
        self.credentials.expiry().is_some_and(|end| end <= now)
    }

    fn need(&self, now: SystemTime, tick: Instant) -> Need {
        if self.refused || self.is_over(now) {
            return Need::Others;
        }
        let due = self.renew_from.is_some_and(|from| from <= now);
        if due && self.not_before.is_none_or(|at| at <= tick) {
            Need::Renewal
        } else {
            Need::Nothing
        }
    }
}

/// From when on credentials that end at `end` are renewed; `unit` is chance, 0 to 1.
fn renew_from(now: SystemTime, end: SystemTime, unit: f64) -> SystemTime {
    let life = end.duration_since(now).unwrap_or_default();
    let window = WINDOW.mul_f64(1.0 + unit / 2.0);
    let window = window.min(life.mul_f64(0.3 + unit / 30.0));
    (end - window).max(now + SHORTEST_PAUSE)
}

/// How long after the `failed`th failure in a row the source is asked again.
fn pause(failed: u32, unit: f64) -> Duration {
    let longest = SHORTEST_PAUSE
        .saturating_mul(2_u32.saturating_pow(failed))
        .min(LONGEST_PAUSE);
    longest.mul_f64(0.5 + unit / 2.0)
}

impl Drop for Cached {
    fn drop(&mut self) {
        if let Some(renewal) = self.renewal.get_mut().take() {
            renewal.abort();
        }
    }
}

impl Cached {
    pub(crate) fn new(given: Arc<Given>) -> Self {
        Self {
            inner: Arc::new(Inner {
                given,
                state: parking_lot::Mutex::default(),
                asking: tokio::sync::Mutex::new(()),
            }),
            renewal: parking_lot::Mutex::new(None),
        }
    }

    /// Credentials to sign with now.
    pub(crate) async fn get(&self) -> Result<Credentials, CredentialsError> {
        let (found, failures) = {
            let state = self.inner.state.lock();
            let found = state.kept.as_ref().map(|kept| {
                let need = kept.need(self.inner.now(), Instant::now());
                (kept.credentials.clone(), need)
            });
            (found, state.failures)
        };
        match found {
            Some((credentials, Need::Nothing)) => Ok(credentials),
            Some((credentials, Need::Renewal)) => {
                self.renew();
                Ok(credentials)
            }
            Some((_, Need::Others)) | None => self.inner.ask(failures).await,
        }
    }

    /// The service refused these: the next request asks the source again, unless another has done so
    /// since these were given out.
    pub(crate) fn refused(&self, these: &Credentials) {
        let mut state = self.inner.state.lock();
        if let Some(kept) = &mut state.kept
            && kept.credentials.0 == these.0
        {
            kept.refused = true;
        }
    }

    /// Starts a renewal, unless one is running. Without a runtime there is none: then the source is
    /// asked when the credentials have ended.
    fn renew(&self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let mut renewal = self.renewal.lock();
        if renewal.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let inner = Arc::clone(&self.inner);
        let task = runtime.spawn(async move {
            let Ok(_turn) = inner.asking.try_lock() else {
                return;
            };
            // Another may have renewed them between the look and the turn.
            if inner.need() == Need::Renewal {
                let _ = inner.look().await;
            }
        });
        *renewal = Some(task.abort_handle());
    }
}

impl Inner {
    /// By the service's clock as far as it is known: it is the one that ends credentials.
    fn now(&self) -> SystemTime {
        self.given.skew.apply(self.given.clock.now())
    }

    fn need(&self) -> Need {
        let state = self.state.lock();
        let kept = state.kept.as_ref();
        kept.map_or(Need::Others, |kept| kept.need(self.now(), Instant::now()))
    }

    /// Asks the source, or takes what another's asking brought meanwhile. `failures` as it was before.
    async fn ask(&self, failures: u64) -> Result<Credentials, CredentialsError> {
        let _turn = self.asking.lock().await;
        {
            let state = self.state.lock();
            let now = self.now();
            let good = state.kept.as_ref().filter(|kept| !kept.is_over(now));
            match (good, &state.last) {
                (Some(kept), _) if !kept.refused => return Ok(kept.credentials.clone()),
                (None, Some(error)) if state.failures != failures => return Err(error.clone()),
                _ => {}
            }
        }
        self.look().await
    }

    /// Asks the source and keeps what it gives; the caller has the turn. When it gives none, what is
    /// kept is given on while it is valid: that it was refused may pass.
    async fn look(&self) -> Result<Credentials, CredentialsError> {
        let given = tokio::time::timeout(LONGEST, self.given.provider.provide()).await;
        let now = self.now();
        let given = match given {
            Ok(Ok(fresh)) if fresh.expiry().is_some_and(|end| end <= now) => {
                Err(CredentialsError::Stale {
                    access_key_id: fresh.access_key_id().to_owned(),
                })
            }
            Ok(given) => given,
            Err(_) => Err(CredentialsError::Provider {
                provider: "the source",
                reason: format!("no answer within {LONGEST:?}"),
                remedy: "look at what it waits for".to_owned(),
            }),
        };
        let unit = self.given.chance.unit();
        let mut state = self.state.lock();
        let error = match given {
            Ok(fresh) => {
                state.kept = Some(Kept::new(fresh.clone(), now, unit));
                return Ok(fresh);
            }
            Err(error) => error,
        };
        state.failures += 1;
        let Some(kept) = &mut state.kept else {
            state.last = Some(error.clone());
            return Err(error);
        };
        if kept.is_over(now) {
            let error = CredentialsError::Expired {
                access_key_id: kept.credentials.access_key_id().to_owned(),
                source: Box::new(error),
            };
            state.last = Some(error.clone());
            return Err(error);
        }
        kept.refused = false;
        kept.failed = kept.failed.saturating_add(1);
        kept.not_before = Some(Instant::now() + pause(kept.failed, unit));
        // The first, and then ever more seldom.
        if kept.failed.is_power_of_two() {
            tracing::warn!(%error, failed = kept.failed, "credentials could not be renewed; the old ones are used on");
        } else {
            tracing::debug!(%error, failed = kept.failed, "credentials could not be renewed");
        }
        Ok(kept.credentials.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::BoxFuture;
    use runtime::TokioClock;
    use runtime::time::from_epoch_millis;
    use std::collections::{BTreeSet, VecDeque};
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    /// What one look-up does.
    #[derive(Debug, Clone, Copy)]
    enum Does {
        /// Gives keys that are good for so many seconds, after so many.
        Gives(u64, u64),
        /// Gives keys for ever, after a second.
        GivesForEver,
        /// Fails after so many seconds.
        Fails(u64),
        Hangs,
    }

    /// Does one thing after the other, the last for ever. Each look-up gives another key.
    #[derive(Debug)]
    struct Script {
        does: parking_lot::Mutex<VecDeque<Does>>,
        asked: AtomicUsize,
        at_once: AtomicUsize,
        most_at_once: AtomicUsize,
        clock: TokioClock,
    }

    /// A look-up while it lasts.
    struct One<'a>(&'a Script);

    impl<'a> One<'a> {
        fn of(script: &'a Script) -> Self {
            let now = script.at_once.fetch_add(1, Relaxed) + 1;
            script.most_at_once.fetch_max(now, Relaxed);
            Self(script)
        }
    }

    impl Drop for One<'_> {
        fn drop(&mut self) {
            self.0.at_once.fetch_sub(1, Relaxed);
        }
    }

    impl ProvideCredentials for Script {
        fn provide(&self) -> BoxFuture<'_, Result<Credentials, CredentialsError>> {
            Box::pin(async {
                let does = {
                    let mut does = self.does.lock();
                    let next = does.front().copied().unwrap();
                    if does.len() > 1 {
                        does.pop_front();
                    }
                    next
                };
                let n = self.asked.fetch_add(1, Relaxed);
                let _one = One::of(self);
                let key = Credentials::new(format!("KEY{n}"), "hush", None);
                let sleep = |s| tokio::time::sleep(Duration::from_secs(s));
                match does {
                    Does::Gives(life, after) => {
                        sleep(after).await;
                        Ok(key.with_expiry(self.clock.now() + Duration::from_secs(life)))
                    }
                    Does::GivesForEver => {
                        sleep(1).await;
                        Ok(key)
                    }
                    Does::Fails(after) => {
                        sleep(after).await;
                        Err(CredentialsError::Provider {
                            provider: "the script",
                            reason: format!("look-up {n}"),
                            remedy: "write another".to_owned(),
                        })
                    }
                    Does::Hangs => std::future::pending().await,
                }
            })
        }
    }

    fn cached(does: &[Does]) -> (Arc<Script>, Cached) {
        let clock = TokioClock::starting_at(from_epoch_millis(1_700_000_000_000));
        let script = Arc::new(Script {
            does: parking_lot::Mutex::new(does.iter().copied().collect()),
            asked: AtomicUsize::new(0),
            at_once: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
            clock,
        });
        let cached = Cached::new(Arc::new(Given {
            provider: Arc::clone(&script) as Arc<dyn ProvideCredentials>,
            clock: Arc::new(clock),
            skew: Skew::default(),
            chance: Chance::seeded(7),
        }));
        (script, cached)
    }

    async fn id(cached: &Cached) -> String {
        cached.get().await.unwrap().access_key_id().to_owned()
    }

    /// How long it took, in tokio's time, and what it gave.
    async fn timed(cached: &Cached) -> (Duration, Result<String, CredentialsError>) {
        let began = Instant::now();
        let given = cached.get().await;
        (began.elapsed(), given.map(|c| c.access_key_id().to_owned()))
    }

    async fn wait(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[test]
    fn the_window_before_the_end_is_ten_to_fifteen_minutes_or_the_last_third() {
        let now = from_epoch_millis(1_700_000_000_000);
        let before = |life: u64, unit: f64| {
            let end = now + Duration::from_secs(life);
            let from = renew_from(now, end, unit);
            end.duration_since(from).unwrap().as_secs_f64().round()
        };
        for (life, unit, expected) in [
            (3_600, 0.0, 600.0),
            (3_600, 1.0, 900.0),
            (43_200, 0.5, 750.0),
            (900, 0.0, 270.0),
            (900, 1.0, 300.0),
            (1, 0.5, 0.0),
        ] {
            assert!((before(life, unit) - expected).abs() < 1.5, "{life} {unit}");
        }
    }

    #[test]
    fn pauses_grow_to_a_minute_and_vary_by_half() {
        let seconds = |failed, unit| pause(failed, unit).as_secs_f64();
        for (failed, least, most) in [
            (1, 1.0, 2.0),
            (3, 4.0, 8.0),
            (6, 30.0, 60.0),
            (99, 30.0, 60.0),
        ] {
            assert!((seconds(failed, 0.0) - least).abs() < 0.01, "{failed}");
            assert!((seconds(failed, 1.0) - most).abs() < 0.01, "{failed}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_callers_ask_the_source_once_and_a_late_refusal_of_old_keys_keeps_the_new() {
        let (_, cached) = cached(&[Does::GivesForEver]);
        let ids = async || {
            let all = futures::future::join_all((0..9).map(|_| cached.get())).await;
            let ids: BTreeSet<String> = all
                .into_iter()
                .map(|c| c.unwrap().access_key_id().to_owned())
                .collect();
            ids.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(ids().await, ["KEY0"]);
        let old = cached.get().await.unwrap();
        cached.refused(&old);
        assert_eq!(ids().await, ["KEY1"]);
        cached.refused(&old);
        assert_eq!(ids().await, ["KEY1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_comes_before_the_end_and_nobody_waits_for_it() {
        let (script, cached) = cached(&[Does::Gives(3_600, 1), Does::Gives(3_600, 20)]);
        assert_eq!(timed(&cached).await.0.as_secs(), 1);
        wait(2_600).await;
        assert_eq!(id(&cached).await, "KEY0");
        assert_eq!(script.asked.load(Relaxed), 1, "not before its time");
        wait(500).await;
        for _ in 0..10 {
            let (took, given) = timed(&cached).await;
            assert_eq!((took, given.unwrap().as_str()), (Duration::ZERO, "KEY0"));
            wait(1).await;
        }
        wait(20).await;
        let (took, given) = timed(&cached).await;
        assert_eq!((took, given.unwrap().as_str()), (Duration::ZERO, "KEY1"));
        assert_eq!(script.asked.load(Relaxed), 2);
        assert_eq!(script.most_at_once.load(Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_fails_or_hangs_stops_nobody_while_the_old_keys_are_valid() {
        for bad in [Does::Fails(5), Does::Hangs] {
            let (script, cached) = cached(&[Does::Gives(3_600, 0), bad]);
            assert_eq!(id(&cached).await, "KEY0");
            for _ in 0..3_590 {
                wait(1).await;
                let (took, given) = timed(&cached).await;
                assert_eq!((took, given.unwrap().as_str()), (Duration::ZERO, "KEY0"));
            }
            assert_eq!(script.most_at_once.load(Relaxed), 1);
            let asked = script.asked.load(Relaxed);
            assert!((3..=40).contains(&asked), "{bad:?}: asked {asked} times");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_end_the_error_names_provider_and_remedy_and_all_share_one_look_up() {
        let (script, cached) = cached(&[
            Does::Gives(60, 0),
            Does::Fails(5),
            Does::Fails(5),
            Does::GivesForEver,
        ]);
        assert_eq!(id(&cached).await, "KEY0");
        wait(61).await;
        for (asked, look_up) in [(2, "look-up 1"), (3, "look-up 2")] {
            let began = Instant::now();
            let all = futures::future::join_all((0..50).map(|_| cached.get())).await;
            assert_eq!(
                began.elapsed().as_secs(),
                5,
                "one look-up, and not one each"
            );
            for given in all {
                let error = given.unwrap_err().to_string();
                for word in ["KEY0", "expired", "the script", look_up, "write another"] {
                    assert!(error.contains(word), "{word}: {error}");
                }
                assert!(!error.contains("hush"), "{error}");
            }
            assert_eq!(script.asked.load(Relaxed), asked);
        }
        assert_eq!(id(&cached).await, "KEY3");
    }

    #[tokio::test(start_paused = true)]
    async fn refused_keys_are_used_on_when_the_source_has_no_others() {
        let (script, cached) = cached(&[Does::Gives(3_600, 0), Does::Fails(1), Does::GivesForEver]);
        let first = cached.get().await.unwrap();
        cached.refused(&first);
        assert_eq!(id(&cached).await, "KEY0");
        assert_eq!(id(&cached).await, "KEY0");
        assert_eq!(script.asked.load(Relaxed), 2);
        cached.refused(&first);
        assert_eq!(id(&cached).await, "KEY2");
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_have_ended_are_not_taken_from_the_source() {
        let (_, cached) = cached(&[Does::Gives(0, 0), Does::GivesForEver]);
        let error = cached.get().await.unwrap_err();
        assert_eq!(
            error,
            CredentialsError::Stale {
                access_key_id: "KEY0".to_owned()
            }
        );
        assert_eq!(id(&cached).await, "KEY1");
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_up_ends_with_its_cache_and_with_its_time() {
        let (script, cached) = cached(&[Does::Hangs]);
        let (took, given) = timed(&cached).await;
        assert_eq!(took, LONGEST);
        assert!(given.unwrap_err().to_string().contains("120s"));
        drop(cached);
        let (other, cached) = self::cached(&[Does::Gives(60, 0), Does::Hangs]);
        assert_eq!(id(&cached).await, "KEY0");
        wait(50).await;
        assert_eq!(id(&cached).await, "KEY0");
        tokio::task::yield_now().await;
        assert_eq!(other.asked.load(Relaxed), 2);
        let held = Arc::strong_count(&other);
        drop(cached);
        tokio::task::yield_now().await;
        assert!(Arc::strong_count(&other) < held, "the task is gone");
        assert_eq!(Arc::strong_count(&other), 1);
        drop(script);
    }
}
