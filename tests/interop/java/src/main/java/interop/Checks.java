package interop;

import java.net.URI;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.AwsCredentialsProvider;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.awscore.exception.AwsServiceException;
import software.amazon.awssdk.core.waiters.WaiterOverrideConfiguration;
import software.amazon.awssdk.retries.api.BackoffStrategy;

/** What the Java counterparts share: named checks, bounded waits, the endpoint. */
final class Checks {
    static final URI ENDPOINT = URI.create(System.getenv("ENDPOINT"));
    static final URI SLOW_ENDPOINT = URI.create(System.getenv("SLOW_ENDPOINT"));
    static final String THROTTLED = "ProvisionedThroughputExceededException";
    static final Set<String> INVALID = Set.of("InvalidArgumentException", "ValidationException");

    private record Check(String name, Callable<?> run) {}

    private final List<Check> checks = new ArrayList<>();

    static AwsCredentialsProvider credentials(String key) {
        return StaticCredentialsProvider.create(AwsBasicCredentials.create(key, key));
    }

    /** A step that may throw. */
    interface Step {
        void run() throws Exception;
    }

    void check(String name, Step step) {
        checks.add(
                new Check(
                        name,
                        () -> {
                            step.run();
                            return null;
                        }));
    }

    /** Runs the checks: a line for each, a closing line with their number; whether all held. */
    boolean runAll(String counterpart) {
        boolean good = true;
        for (Check check : checks) {
            try {
                check.run().call();
                System.out.printf("ok   %s: %s%n", counterpart, check.name());
            } catch (Throwable error) {
                good = false;
                String text = error.toString().replaceAll("\\s+", " ");
                System.out.printf(
                        "FAIL %s: %s: %s%n",
                        counterpart,
                        check.name(),
                        text.substring(0, Math.min(1500, text.length())));
            }
        }
        System.out.printf("ran %d %s%n", checks.size(), counterpart);
        return good;
    }

    static void equal(Object got, Object expected, String what) {
        hold(Objects.equals(got, expected), what + ": got " + got + ", expected " + expected);
    }

    static void hold(boolean held, String what) {
        if (!held) {
            throw new AssertionError(what);
        }
    }

    static <T> T get(CompletableFuture<T> future) {
        try {
            return future.orTimeout(20, TimeUnit.SECONDS).join();
        } catch (CompletionException error) {
            throw error.getCause() instanceof RuntimeException cause ? cause : error;
        }
    }

    /** The refusal of a call, which has to carry one of the codes and status 400. */
    static AwsServiceException refused(Set<String> codes, Supplier<CompletableFuture<?>> call) {
        Object answer;
        try {
            answer = get(call.get());
        } catch (AwsServiceException error) {
            String code = error.awsErrorDetails().errorCode();
            hold(codes.contains(code), code + " (" + error.getMessage() + "), not " + codes);
            equal(error.statusCode(), 400, "HTTP status of " + code);
            return error;
        }
        throw new AssertionError("accepted with " + answer + ", not refused with " + codes);
    }

    static AwsServiceException refused(String code, Supplier<CompletableFuture<?>> call) {
        return refused(Set.of(code), call);
    }

    /** Waits until the condition gives something. */
    static <T> T until(String what, Supplier<Optional<T>> condition) {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
        while (System.nanoTime() < end) {
            Optional<T> got = condition.get();
            if (got.isPresent()) {
                return got.get();
            }
            pause(100);
        }
        throw new AssertionError("not within 20 s: " + what);
    }

    /** Calls again while the shard's limits refuse: for checks that are about something else. */
    static <T> T paced(Supplier<CompletableFuture<T>> call) {
        return until(
                "the call is admitted",
                () -> {
                    try {
                        return Optional.of(get(call.get()));
                    } catch (AwsServiceException error) {
                        if (!error.awsErrorDetails().errorCode().equals(THROTTLED)) {
                            throw error;
                        }
                        return Optional.empty();
                    }
                });
    }

    /** Waiters ask every half second: by themselves they pause for ten seconds. */
    static void shortly(WaiterOverrideConfiguration.Builder waiter) {
        waiter.waitTimeout(Duration.ofSeconds(20))
                .backoffStrategyV2(BackoffStrategy.fixedDelayWithoutJitter(Duration.ofMillis(500)));
    }

    static void pause(long millis) {
        try {
            Thread.sleep(millis);
        } catch (InterruptedException error) {
            throw new IllegalStateException(error);
        }
    }
}
