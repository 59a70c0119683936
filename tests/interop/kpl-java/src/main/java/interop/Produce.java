package interop;

import com.google.common.util.concurrent.ListenableFuture;
import com.google.common.util.concurrent.MoreExecutors;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.ExecutionException;
import java.util.stream.Collectors;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.kinesis.producer.Attempt;
import software.amazon.kinesis.producer.KinesisProducer;
import software.amazon.kinesis.producer.KinesisProducerConfiguration;
import software.amazon.kinesis.producer.UserRecord;
import software.amazon.kinesis.producer.UserRecordFailedException;
import software.amazon.kinesis.producer.UserRecordResult;

/**
 * The official Kinesis Producer Library, told on standard input what to put, a record a line:
 * {@code STREAM KEY EXPLICIT_HASH_KEY DATA}, where a hyphen stands for no key. It says on standard
 * output what became of each: {@code ok DATA SHARD SEQUENCE_NUMBER CODE,…} with a code for each attempt
 * before the last, or {@code failed DATA CODE,…}. A line {@code sync} waits for all and is answered
 * {@code synced}. At the end of the input everything is flushed.
 *
 * <p>Arguments: endpoint, access key, secret, directory for its files, time to live of records in
 * milliseconds, and the file with the authority to trust unless that is to be missing.
 */
public final class Produce {
    private static synchronized void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    public static void main(String[] arguments) throws Exception {
        URI endpoint = URI.create(arguments[0]);
        // Everything that it calls is the endpoint. Aggregation and the check of certificates are its
        // own defaults.
        KinesisProducerConfiguration configuration =
                new KinesisProducerConfiguration()
                        .setRegion("us-east-1")
                        .setKinesisEndpoint(endpoint.getHost())
                        .setKinesisPort(endpoint.getPort())
                        .setCloudwatchEndpoint(endpoint.getHost())
                        .setCloudwatchPort(endpoint.getPort())
                        .setStsEndpoint(endpoint.getHost())
                        .setStsPort(endpoint.getPort())
                        .setCredentialsProvider(
                                StaticCredentialsProvider.create(
                                        AwsBasicCredentials.create(arguments[1], arguments[2])))
                        .setTempDirectory(arguments[3])
                        .setRecordTtl(Long.parseLong(arguments[4]))
                        .setMetricsUploadDelay(1_000);
        if (arguments.length > 5) {
            configuration.setCaCertFile(arguments[5]);
        }
        KinesisProducer producer = new KinesisProducer(configuration);
        BufferedReader input =
                new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        String line;
        while ((line = input.readLine()) != null) {
            if (line.equals("sync")) {
                producer.flushSync();
                say("synced");
                continue;
            }
            String[] words = line.split(" ", 4);
            String data = words[3];
            UserRecord record =
                    new UserRecord(
                            words[0],
                            words[1].equals("-") ? null : words[1],
                            words[2].equals("-") ? null : words[2],
                            ByteBuffer.wrap(data.getBytes(StandardCharsets.UTF_8)));
            ListenableFuture<UserRecordResult> future = producer.addUserRecord(record);
            future.addListener(() -> tell(data, future), MoreExecutors.directExecutor());
        }
        producer.flushSync();
        producer.destroy();
        say("stopped");
        System.exit(0);
    }

    private static void tell(String data, ListenableFuture<UserRecordResult> future) {
        try {
            UserRecordResult result = future.get();
            say(
                    String.format(
                            "ok %s %s %s %s",
                            data,
                            result.getShardId(),
                            result.getSequenceNumber(),
                            codes(result)));
        } catch (ExecutionException error) {
            Throwable cause = error.getCause();
            say(
                    "failed "
                            + data
                            + " "
                            + (cause instanceof UserRecordFailedException failed
                                    ? codes(failed.getResult())
                                    : cause));
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
    }

    private static String codes(UserRecordResult result) {
        return result.getAttempts().stream()
                .filter(attempt -> !attempt.isSuccessful())
                .map(Attempt::getErrorCode)
                .map(code -> code.replace(' ', '-'))
                .collect(Collectors.joining(","));
    }
}
