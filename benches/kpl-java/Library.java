import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.kinesis.producer.KinesisProducerConfiguration;

/** The official library, told where the sink is, with the settings that suit it best. */
final class Library {
    private Library() {}

    /** No tracker of the oldest record, no metrics, no health checks; all else at its default. */
    static KinesisProducerConfiguration configuration(
            int port, String certificate, String directory) {
        return new KinesisProducerConfiguration()
                .setRegion("us-east-1")
                .setKinesisEndpoint("localhost")
                .setKinesisPort(port)
                .setStsEndpoint("localhost")
                .setStsPort(port)
                .setCaCertFile(certificate)
                .setTempDirectory(directory)
                .setCredentialsProvider(
                        StaticCredentialsProvider.create(
                                AwsBasicCredentials.create("AKIDBENCH", "a secret")))
                .setMetricsLevel("none")
                .setEnableOldestFutureTracker(false)
                .setEnableDaemonHealthCheck(false)
                .setLogLevel("error");
    }
}
