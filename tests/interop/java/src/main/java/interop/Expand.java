package interop;

import static interop.Checks.equal;
import static interop.Checks.get;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.File;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.services.kinesis.model.GetRecordsResponse;
import software.amazon.awssdk.services.kinesis.model.Shard;
import software.amazon.awssdk.services.kinesis.model.ShardIteratorType;
import software.amazon.kinesis.retrieval.AggregatorUtil;
import software.amazon.kinesis.retrieval.KinesisClientRecord;

/**
 * The Kinesis Client Library's own expansion of what the producer of this project wrote, by the range of
 * each shard: an aggregate with one record outside it would be dropped whole.
 */
public final class Expand {
    private Expand() {}

    public static void main(String[] arguments) throws Exception {
        List<String> expected = new ArrayList<>();
        for (JsonNode line : new ObjectMapper().readTree(new File(System.getenv("EXPECTED")))) {
            expected.add(line.get(0).asText() + "\t" + line.get(2).asText());
        }
        Collections.sort(expected);
        Checks checks = new Checks();
        boolean good;
        try (KinesisAsyncClient kinesis =
                KinesisAsyncClient.builder()
                        .endpointOverride(Checks.ENDPOINT)
                        .region(Region.US_EAST_1)
                        .credentialsProvider(Checks.credentials("java"))
                        .build()) {
            checks.check(
                    "the KCL expands aggregates of the producer to what was put",
                    () -> equal(expanded(kinesis, "produced"), expected, "user records"));
            checks.check(
                    "with identities in their tags it expands them to the same",
                    () ->
                            equal(
                                    expanded(kinesis, "produced-with-identities"),
                                    expected,
                                    "user records"));
            good = checks.runAll("kcl expand");
        }
        System.exit(good ? 0 : 1);
    }

    private static List<String> expanded(KinesisAsyncClient kinesis, String stream) {
        List<String> user = new ArrayList<>();
        for (Shard shard : get(kinesis.listShards(r -> r.streamName(stream))).shards()) {
            String iterator =
                    get(
                                    kinesis.getShardIterator(
                                            r ->
                                                    r.streamName(stream)
                                                            .shardId(shard.shardId())
                                                            .shardIteratorType(
                                                                    ShardIteratorType
                                                                            .TRIM_HORIZON)))
                            .shardIterator();
            GetRecordsResponse page;
            do {
                String at = iterator;
                page = get(kinesis.getRecords(r -> r.shardIterator(at)));
                List<KinesisClientRecord> records =
                        page.records().stream().map(KinesisClientRecord::fromRecord).toList();
                for (KinesisClientRecord record :
                        new AggregatorUtil()
                                .deaggregate(
                                        records,
                                        shard.hashKeyRange().startingHashKey(),
                                        shard.hashKeyRange().endingHashKey())) {
                    user.add(
                            record.partitionKey()
                                    + "\t"
                                    + StandardCharsets.UTF_8.decode(record.data()));
                }
                iterator = page.nextShardIterator();
            } while (page.millisBehindLatest() > 0);
        }
        Collections.sort(user);
        return user;
    }
}
