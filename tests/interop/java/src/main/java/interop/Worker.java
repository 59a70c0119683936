package interop;

import java.nio.charset.StandardCharsets;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import software.amazon.awssdk.auth.credentials.AwsCredentialsProvider;
import software.amazon.awssdk.http.Protocol;
import software.amazon.awssdk.http.nio.netty.NettyNioAsyncHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.cloudwatch.CloudWatchAsyncClient;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClientBuilder;
import software.amazon.kinesis.common.ConfigsBuilder;
import software.amazon.kinesis.common.InitialPositionInStream;
import software.amazon.kinesis.common.InitialPositionInStreamExtended;
import software.amazon.kinesis.common.KinesisClientUtil;
import software.amazon.kinesis.coordinator.Scheduler;
import software.amazon.kinesis.exceptions.InvalidStateException;
import software.amazon.kinesis.exceptions.ShutdownException;
import software.amazon.kinesis.leases.LeaseManagementConfig;
import software.amazon.kinesis.lifecycle.events.InitializationInput;
import software.amazon.kinesis.lifecycle.events.LeaseLostInput;
import software.amazon.kinesis.lifecycle.events.ProcessRecordsInput;
import software.amazon.kinesis.lifecycle.events.ShardEndedInput;
import software.amazon.kinesis.lifecycle.events.ShutdownRequestedInput;
import software.amazon.kinesis.processor.ShardRecordProcessor;
import software.amazon.kinesis.processor.SingleStreamTracker;
import software.amazon.kinesis.retrieval.KinesisClientRecord;
import software.amazon.kinesis.retrieval.RetrievalConfig;
import software.amazon.kinesis.retrieval.polling.PollingConfig;

/**
 * A worker of the official Kinesis Client Library, with the library's own settings. It says on standard
 * output what happens to it, one event a line, and stops gracefully when standard input ends.
 *
 * <p>Arguments: application, stream, worker, polling or fan-out.
 */
public final class Worker {
    private static synchronized void say(String format, Object... values) {
        System.out.printf(format + "%n", values);
        System.out.flush();
    }

    private static final class Processor implements ShardRecordProcessor {
        private String shard;

        @Override
        public void initialize(InitializationInput input) {
            shard = input.shardId();
            say("init %s %s", shard, input.extendedSequenceNumber().sequenceNumber());
        }

        @Override
        public void processRecords(ProcessRecordsInput input) {
            for (KinesisClientRecord record : input.records()) {
                say(
                        "record %s %s %d %s %s",
                        shard,
                        record.sequenceNumber(),
                        record.subSequenceNumber(),
                        record.partitionKey(),
                        StandardCharsets.UTF_8.decode(record.data()));
            }
            checkpoint(() -> input.checkpointer().checkpoint());
        }

        @Override
        public void leaseLost(LeaseLostInput input) {
            say("lost %s", shard);
        }

        @Override
        public void shardEnded(ShardEndedInput input) {
            checkpoint(() -> input.checkpointer().checkpoint());
            say("ended %s", shard);
        }

        @Override
        public void shutdownRequested(ShutdownRequestedInput input) {
            checkpoint(() -> input.checkpointer().checkpoint());
            say("shutdown %s", shard);
        }

        private interface Checkpoint {
            void run() throws InvalidStateException, ShutdownException;
        }

        private static void checkpoint(Checkpoint checkpoint) {
            try {
                checkpoint.run();
            } catch (InvalidStateException | ShutdownException error) {
                throw new IllegalStateException(error);
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        String application = arguments[0];
        String stream = arguments[1];
        String worker = arguments[2];
        boolean polling = arguments[3].equals("polling");
        AwsCredentialsProvider credentials = Checks.credentials(worker);
        KinesisAsyncClientBuilder builder =
                KinesisAsyncClient.builder()
                        .endpointOverride(Checks.ENDPOINT)
                        .region(Region.US_EAST_1)
                        .credentialsProvider(credentials);
        // For fan-out the client is the library's own: HTTP/2, here by prior knowledge.
        KinesisAsyncClient kinesis =
                polling
                        ? builder.httpClientBuilder(
                                        NettyNioAsyncHttpClient.builder().protocol(Protocol.HTTP1_1))
                                .build()
                        : KinesisClientUtil.createKinesisAsyncClient(builder);
        DynamoDbAsyncClient dynamo =
                DynamoDbAsyncClient.builder()
                        .endpointOverride(Checks.ENDPOINT)
                        .region(Region.US_EAST_1)
                        .credentialsProvider(credentials)
                        .build();
        CloudWatchAsyncClient cloudWatch =
                CloudWatchAsyncClient.builder()
                        .endpointOverride(Checks.ENDPOINT)
                        .region(Region.US_EAST_1)
                        .credentialsProvider(credentials)
                        .build();
        InitialPositionInStreamExtended start =
                InitialPositionInStreamExtended.newInitialPosition(
                        InitialPositionInStream.TRIM_HORIZON);
        ConfigsBuilder configs =
                new ConfigsBuilder(
                        new SingleStreamTracker(stream, start),
                        application,
                        kinesis,
                        dynamo,
                        cloudWatch,
                        worker,
                        Processor::new);
        // Without worker metrics the library does not look for the metadata of a cloud machine. All else
        // is as it comes: fan-out is what it does unless polling is asked for.
        LeaseManagementConfig leases = configs.leaseManagementConfig();
        leases.workerUtilizationAwareAssignmentConfig().disableWorkerMetrics(true);
        RetrievalConfig retrieval = configs.retrievalConfig();
        if (polling) {
            retrieval.retrievalSpecificConfig(new PollingConfig(stream, kinesis));
        }
        Scheduler scheduler =
                new Scheduler(
                        configs.checkpointConfig(),
                        configs.coordinatorConfig(),
                        leases,
                        configs.lifecycleConfig(),
                        configs.metricsConfig(),
                        configs.processorConfig(),
                        retrieval);
        Thread thread = new Thread(scheduler, "scheduler");
        thread.setDaemon(true);
        thread.start();
        while (System.in.read() >= 0) {
            // Until the end of the input.
        }
        boolean graceful = false;
        try {
            graceful = scheduler.startGracefulShutdown().get(40, TimeUnit.SECONDS);
        } catch (ExecutionException error) {
            error.printStackTrace();
        }
        say("stopped %s", graceful);
        System.exit(graceful ? 0 : 1);
    }
}
