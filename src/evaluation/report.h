#pragma once

#include <string>
#include <vector>

#include "evaluation/evaluation.h"

namespace darkroom {

// The report for people: a header, then a row for every figure and a column for every mode. A
// figure that there is none of is "-". docs/quality.md says what each means.
std::vector<std::vector<std::string>> ReportTable(const Report& report);

// The same for programs, one JSON object on one line. Field names are those of the structs; a
// figure that there is none of is null.
std::string ReportJson(const Report& report);

}  // namespace darkroom
