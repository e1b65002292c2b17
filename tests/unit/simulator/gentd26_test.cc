#include "simulator/gentd26.h"

#include <string>

#include "base/error.h"
#include "gtest/gtest.h"
#include "simulator/workload_trace.h"

namespace darkroom::simulator {
namespace {

const std::string kHeader =
    "gmt_create,predict_type,predict_status,exec_time_seconds,groupId,prompt_length,"
    "negative_prompt_length,num_images_per_prompt,num_inference_steps,"
    "checkpoint_model_version_id,num_lora\n";

TEST(Gentd26Test, ReadsRequestsInOrderOfTime) {
  const auto trace = ParseGentd26(kHeader +
                                  "2024-11-15 16:57:50,TXT,OK,32.0,G0007,6,2,1.0,30.0,M0002,0\n"
                                  "2024-11-15 16:57:20,TXT,OK,32.0,G0041,6,,4.0,40.0,M0001,2\r\n"
                                  "2024-11-15 16:57:55,TXT,PENDING,,G0041,6,,,,M0001,2\n");
  ASSERT_TRUE(trace.ok()) << trace.status();
  ASSERT_EQ(trace->requests.size(), 2u);
  EXPECT_EQ(trace->incomplete, 1u);
  EXPECT_EQ(trace->requests[0].tenant, 41u);
  EXPECT_EQ(trace->requests[0].images, 4);
  EXPECT_EQ(trace->requests[0].steps, 40);
  EXPECT_EQ(trace->requests[0].adapters, 2);
  EXPECT_EQ(trace->requests[1].created_s - trace->requests[0].created_s, 30);
}

TEST(Gentd26Test, NamesTheLineThatIsWrong) {
  const std::string good = "2024-11-15 16:57:50,T,S,3,G0007,6,2,1.0,30.0,M0002,0\n";
  for (const char* bad : {
           "2024-11-15,T,S,3,G0007,6,2,1.0,30.0,M0002,0",           // no time
           "2024-13-45 16:57:50,T,S,3,G0007,6,2,1.0,30.0,M0002,0",  // no date
           "2024-11-15 16:57:50,T,S,3,G0007,6,2,1.0,30.0,M0002",    // a field less
           "2024-11-15 16:57:50,T,S,3,G0007,6,2,-1.0,30.0,M0002,0",
           "2024-11-15 16:57:50,T,S,3,G0007,6,2,1.0,0,M0002,0",
           "2024-11-15 16:57:50,T,S,3,G0007,6,2,1.0,2.5,M0002,0",
           "2024-11-15 16:57:50,T,S,3,G0007,6,2,1.0,nan,M0002,0",
           "2024-11-15 16:57:50,T,S,3,G0007,6,2,1.0,1e300,M0002,0",
           "2024-11-15 16:57:50,T,S,3,seven,6,2,1.0,30.0,M0002,0",
       }) {
    const auto trace = ParseGentd26(kHeader + good + bad + "\n");
    ASSERT_FALSE(trace.ok()) << bad;
    EXPECT_EQ(ErrorReason(trace.status()), "TRACE_INVALID");
    EXPECT_NE(trace.status().message().find("line 3"), absl::string_view::npos) << bad;
  }
  EXPECT_FALSE(ParseGentd26("").ok());
  EXPECT_FALSE(ParseGentd26("a,b\n").ok());
  EXPECT_FALSE(ParseGentd26(kHeader).ok());
}

TEST(Gentd26Test, MakesTheSameWorkloadOfTheSameSeed) {
  Trace trace;
  for (int i = 0; i < 300; ++i) {
    trace.requests.push_back({.created_s = 40 * i,
                              .tenant = static_cast<uint32_t>(i % 90),
                              .images = 1 + i % 8,
                              .steps = 30});
  }
  TraceWorkloadOptions options;
  options.requests = 200;
  options.load = 0.5;
  options.flood = 0.6;
  const auto a = MakeTraceWorkload(trace, options, 3);
  const auto b = MakeTraceWorkload(trace, options, 3);
  ASSERT_TRUE(a.ok() && b.ok());
  ASSERT_EQ(a->jobs.size(), b->jobs.size());
  double work_s = 0;
  int64_t last_ns = 0;
  for (size_t i = 0; i < a->jobs.size(); ++i) {
    const WorkJob& job = a->jobs[i];
    EXPECT_EQ(job.arrival_ns, b->jobs[i].arrival_ns);
    EXPECT_LE(job.request_jobs, 4);
    EXPECT_GE(job.arrival_ns, last_ns);
    last_ns = job.arrival_ns;
    if (!job.flood) work_s += 0.052 * static_cast<double>(job.milli_units) / 1000 * job.steps;
  }
  EXPECT_NEAR(work_s / (8 * static_cast<double>(last_ns) / 1e9), 0.5, 0.001);

  options.requests = 301;
  EXPECT_EQ(ErrorReason(MakeTraceWorkload(trace, options, 3).status()), "WORKLOAD_INVALID");
  options.requests = 200;
  options.load = 0;
  EXPECT_EQ(ErrorReason(MakeTraceWorkload(trace, options, 3).status()), "WORKLOAD_INVALID");
}

}  // namespace
}  // namespace darkroom::simulator
