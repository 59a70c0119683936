package interop;

import static interop.Checks.equal;
import static interop.Checks.get;
import static interop.Checks.refused;

import java.net.URI;
import java.util.List;
import software.amazon.awssdk.auth.credentials.AnonymousCredentialsProvider;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.AwsCredentialsProvider;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.awscore.retry.AwsRetryStrategy;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.http.Protocol;
import software.amazon.awssdk.http.ProtocolNegotiation;
import software.amazon.awssdk.http.nio.netty.NettyNioAsyncHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.services.kinesis.model.Record;
import software.amazon.awssdk.services.kinesis.model.StreamDescriptionSummary;

/**
 * Endpoints that verify signatures, plain and over TLS: by row 19. The authority is in the trust store
 * that the command line names.
 */
final class Signed {
    private static final String SHARD = "shardId-000000000000";
    private static final String[] KEY = System.getenv("SIGNED_KEY").split(":");

    /** A way to an endpoint. */
    private record Way(
            String name, URI endpoint, Protocol protocol, ProtocolNegotiation negotiation) {
        KinesisAsyncClient client(AwsCredentialsProvider credentials) {
            NettyNioAsyncHttpClient.Builder http =
                    NettyNioAsyncHttpClient.builder().protocol(protocol);
            if (negotiation != null) {
                http.protocolNegotiation(negotiation);
            }
            return KinesisAsyncClient.builder()
                    .endpointOverride(endpoint)
                    .region(Region.US_EAST_1)
                    .credentialsProvider(credentials)
                    .httpClientBuilder(http)
                    .overrideConfiguration(o -> o.retryStrategy(AwsRetryStrategy.doNotRetry()))
                    .build();
        }

        KinesisAsyncClient client(String key, String secret) {
            return client(StaticCredentialsProvider.create(AwsBasicCredentials.create(key, secret)));
        }
    }

    private Signed() {}

    static Checks checks() {
        URI plain = URI.create(System.getenv("SIGNED_ENDPOINT"));
        URI tls = URI.create(System.getenv("TLS_ENDPOINT"));
        Checks checks = new Checks();
        for (Way way :
                List.of(
                        new Way("http1", plain, Protocol.HTTP1_1, null),
                        new Way("http2", plain, Protocol.HTTP2, null),
                        new Way("tls-http1", tls, Protocol.HTTP1_1, null),
                        new Way("tls-http2", tls, Protocol.HTTP2, null),
                        new Way("tls-alpn", tls, Protocol.HTTP2, ProtocolNegotiation.ALPN))) {
            checks.check("row 19: the right key: records by polling and fan-out, " + way.name(), () -> right(way));
            checks.check("row 19: wrong secret, unknown key, no signature: " + way.name(), () -> wrong(way));
        }
        return checks;
    }

    private static void right(Way way) {
        String name = "signed-java-" + way.name();
        try (KinesisAsyncClient kinesis = way.client(KEY[0], KEY[1])) {
            get(kinesis.createStream(r -> r.streamName(name).shardCount(1)));
            StreamDescriptionSummary active = OneStream.active(kinesis, name);
            SdkBytes data = SdkBytes.fromUtf8String("schlüssel");
            String number =
                    get(kinesis.putRecord(r -> r.streamName(name).partitionKey("ключ").data(data)))
                            .sequenceNumber();
            String at =
                    get(kinesis.getShardIterator(
                                    r ->
                                            r.streamName(name)
                                                    .shardId(SHARD)
                                                    .shardIteratorType("TRIM_HORIZON")))
                            .shardIterator();
            List<Record> polled = get(kinesis.getRecords(r -> r.shardIterator(at))).records();
            equal(polled.size(), 1, "records");
            equal(polled.get(0).sequenceNumber(), number, "sequence number");
            equal(polled.get(0).data(), data, "data");
            String consumer = FanOut.registered(kinesis, active.streamARN(), "signed");
            equal(FanOut.first(kinesis, consumer, SHARD, 1), polled, "by fan-out");
            get(kinesis.deleteStream(r -> r.streamName(name).enforceConsumerDeletion(true)));
        }
    }

    private static void wrong(Way way) {
        try (KinesisAsyncClient kinesis = way.client(KEY[0], KEY[1] + "x")) {
            refused("InvalidSignatureException", () -> kinesis.listStreams());
        }
        try (KinesisAsyncClient kinesis = way.client(KEY[0] + "X", KEY[1])) {
            refused("UnrecognizedClientException", () -> kinesis.listStreams());
        }
        try (KinesisAsyncClient kinesis = way.client(AnonymousCredentialsProvider.create())) {
            refused("MissingAuthenticationTokenException", () -> kinesis.listStreams());
        }
    }
}
