// What compilers.ts preprocesses to ask a compiler who it is and whether it finds the C++ library.
#include <cstddef>
