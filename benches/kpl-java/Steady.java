import com.google.common.util.concurrent.FutureCallback;
import com.google.common.util.concurrent.Futures;
import com.google.common.util.concurrent.MoreExecutors;
import java.nio.ByteBuffer;
import java.util.Random;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import software.amazon.kinesis.producer.KinesisProducer;
import software.amazon.kinesis.producer.UserRecordFailedException;
import software.amazon.kinesis.producer.UserRecordResult;

/**
 * Puts numbered records by the official library at a steady rate, in slices of a hundred, as the probe
 * {@code steady} does by ours.
 *
 * <p>Arguments: port, certificate, directory for its files, bytes of a record, the first number, how many,
 * how many a second, milliseconds after which it offers no more, RecordMaxBufferedTime. It says
 * {@code begin} once a first record was acknowledged, which has no number that counts; {@code admitted N}
 * after each slice; {@code offered ADMITTED RECORDS BYTES}, outstanding at the most; and
 * {@code end DELIVERED FAILED ATTEMPTS} once all have an outcome.
 */
public final class Steady {
    private static final int SLICE = 100;
    private static final int KEY = 30;
    private static final long UNCOUNTED = 1L << 40;

    private static final AtomicLong delivered = new AtomicLong();
    private static final AtomicLong failed = new AtomicLong();
    private static final AtomicLong attempts = new AtomicLong();
    private static final Random random = new Random(11);

    public static void main(String[] arguments) throws Exception {
        int size = Integer.parseInt(arguments[3]);
        long from = Long.parseLong(arguments[4]);
        long count = Long.parseLong(arguments[5]);
        long rate = Long.parseLong(arguments[6]);
        long time = Long.parseLong(arguments[7]);
        KinesisProducer producer =
                new KinesisProducer(
                        Library.configuration(
                                        Integer.parseInt(arguments[0]), arguments[1], arguments[2])
                                .setRecordMaxBufferedTime(Long.parseLong(arguments[8])));
        producer.addUserRecord("bench", "first", record(UNCOUNTED, size)).get();
        say("begin");
        long began = System.nanoTime();
        long until = began + time * 1_000_000;
        long most = 0;
        long number = from;
        for (; number < from + count && System.nanoTime() < until; number++) {
            long due = began + (number - from) / SLICE * SLICE * 1_000_000_000L / rate;
            for (long left = due - System.nanoTime(); left > 0; left = due - System.nanoTime()) {
                LockSupport.parkNanos(left);
            }
            String key = String.format("session-%022d", number);
            Futures.addCallback(
                    producer.addUserRecord("bench", key, record(number, size)),
                    new FutureCallback<UserRecordResult>() {
                        @Override
                        public void onSuccess(UserRecordResult result) {
                            delivered.incrementAndGet();
                            over(result);
                        }

                        @Override
                        public void onFailure(Throwable error) {
                            failed.incrementAndGet();
                            over(
                                    error instanceof UserRecordFailedException told
                                            ? told.getResult()
                                            : null);
                        }
                    },
                    MoreExecutors.directExecutor());
            if ((number + 1) % SLICE == 0) {
                say("admitted " + (number + 1));
                most = Math.max(most, number + 1 - from - delivered.get() - failed.get());
            }
        }
        long admitted = number - from;
        say("offered " + admitted + " " + most + " " + most * (size + KEY));
        while (delivered.get() + failed.get() < admitted) {
            LockSupport.parkNanos(1_000_000);
        }
        say("end " + delivered.get() + " " + failed.get() + " " + attempts.get());
        System.in.read();
        System.exit(0);
    }

    private static void over(UserRecordResult result) {
        if (result != null) {
            attempts.addAndGet(result.getAttempts().size());
        }
    }

    private static ByteBuffer record(long number, int size) {
        byte[] data = new byte[size];
        random.nextBytes(data);
        return ByteBuffer.wrap(data).putLong(0, number);
    }

    private static void say(String line) {
        System.out.println(line);
        System.out.flush();
    }
}
