import com.google.common.util.concurrent.FutureCallback;
import com.google.common.util.concurrent.Futures;
import com.google.common.util.concurrent.ListenableFuture;
import com.google.common.util.concurrent.MoreExecutors;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.Random;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import software.amazon.kinesis.producer.KinesisProducer;
import software.amazon.kinesis.producer.UserRecordResult;

/**
 * Puts records by the official library as fast as it takes them: no rate limit, at most 10,000 records
 * outstanding.
 *
 * <p>Arguments: port, certificate, directory for its files, bytes of a record, milliseconds to warm up,
 * milliseconds to measure, records a second (0: as many as it takes). It says {@code begin}, then
 * {@code end DELIVERED FAILED P50 P99} (milliseconds).
 */
public final class Drive {
    private static final int OUTSTANDING = 10_000;
    private static final int POOL = 1 << 20;

    private static final AtomicLong delivered = new AtomicLong();
    private static final AtomicLong failed = new AtomicLong();
    private static final Semaphore room = new Semaphore(OUTSTANDING);

    public static void main(String[] arguments) throws Exception {
        int port = Integer.parseInt(arguments[0]);
        int size = Integer.parseInt(arguments[3]);
        long warmUp = Long.parseLong(arguments[4]);
        long time = Long.parseLong(arguments[5]);
        long rate = Long.parseLong(arguments[6]);
        KinesisProducer producer =
                new KinesisProducer(
                        Library.configuration(port, arguments[1], arguments[2])
                                .setRateLimit(1_000_000_000L));
        Random random = new Random(11);
        byte[] pool = new byte[POOL + size];
        random.nextBytes(pool);
        long[] times = new long[rate > 0 ? (int) (rate * time / 1000) : 0];
        run(producer, pool, size, random, warmUp, rate, null);
        delivered.set(0);
        failed.set(0);
        System.out.println("begin");
        System.out.flush();
        run(producer, pool, size, random, time, rate, times);
        // All that were put have their outcome.
        room.acquire(OUTSTANDING);
        Arrays.sort(times);
        System.out.printf(
                "end %d %d %.3f %.3f%n",
                delivered.get(), failed.get(), at(times, 50), at(times, 99));
        System.out.flush();
        // Until the other side has looked at the memory.
        System.in.read();
        producer.destroy();
        System.exit(0);
    }

    private static double at(long[] times, int percent) {
        return times.length == 0 ? 0 : times[(times.length - 1) * percent / 100] / 1e6;
    }

    private static long made = 0;

    private static void run(
            KinesisProducer producer,
            byte[] pool,
            int size,
            Random random,
            long time,
            long rate,
            long[] times)
            throws Exception {
        long began = System.nanoTime();
        long until = began + time * 1_000_000;
        long count = rate > 0 ? rate * time / 1000 : Long.MAX_VALUE;
        for (long number = 0; number < count && (rate > 0 || System.nanoTime() < until); number++) {
            if (rate > 0) {
                long due = began + number * 1_000_000_000L / rate;
                for (long left = due - System.nanoTime(); left > 0; left = due - System.nanoTime()) {
                    LockSupport.parkNanos(left);
                }
            }
            room.acquire();
            made++;
            String key = String.format("session-%022d", made);
            ByteBuffer data = ByteBuffer.wrap(pool, random.nextInt(POOL), size);
            long at = System.nanoTime();
            int place = (int) number;
            ListenableFuture<UserRecordResult> future = producer.addUserRecord("bench", key, data);
            Futures.addCallback(
                    future,
                    new FutureCallback<UserRecordResult>() {
                        @Override
                        public void onSuccess(UserRecordResult result) {
                            if (times != null && times.length > 0) {
                                times[place] = System.nanoTime() - at;
                            }
                            delivered.incrementAndGet();
                            room.release();
                        }

                        @Override
                        public void onFailure(Throwable error) {
                            failed.incrementAndGet();
                            room.release();
                        }
                    },
                    MoreExecutors.directExecutor());
        }
    }
}
