// compilers.ts preprocesses this file to identify a compiler and to check that it finds the C++ library.
#include <cstddef>
