// The public conformance suite of Durable Streams, run by vitest on the server of that address.
import { runConformanceTests } from "@durable-streams/server-conformance-tests";

runConformanceTests({ baseUrl: process.env.CONFORMANCE_TEST_URL, longPollTimeoutMs: 10_000 });
