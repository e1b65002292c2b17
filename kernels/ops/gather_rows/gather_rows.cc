#include "kernels/ops/gather_rows/gather_rows.h"

#include "kernels/common/limits.h"
#include "kernels/common/validate.h"

namespace darkroom::kernels {

Result ValidateGatherRows(const GatherRowsArgs& args) {
  return FirstError(CheckRange("capacity", args.batch.capacity, 1, kRowsMax),
                    CheckRange("sequences_max", args.batch.sequences_max, 1, kSequencesMax),
                    CheckRange("dim", args.dim, 1, kFeaturesMax),
                    CheckPresent("live_sequences", args.batch.live_sequences),
                    CheckPresent("boundaries", args.batch.boundaries),
                    CheckPresent("sources", args.sources), CheckPresent("out", args.out));
}

}  // namespace darkroom::kernels
