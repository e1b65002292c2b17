#pragma once

#include <string>
#include <vector>

#include "google/protobuf/descriptor.h"

namespace darkroom {

// How a file of package darkroom.v1 breaks our naming rules, which are buf's STANDARD category with
// the answers that Google's API guide allows; one line a finding. `public_api`: clients read it, so
// everything in it must be commented; that needs the source locations in the descriptors.
std::vector<std::string> ProtoFindings(const google::protobuf::FileDescriptor& file,
                                       bool public_api);

}  // namespace darkroom
