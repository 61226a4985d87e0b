#pragma once
#include <string>

namespace rf {

// Every constant, struct size, field offset, op slot, flag and format of this build, as "name=value;" entries.
std::string layout_text();

}  // namespace rf
