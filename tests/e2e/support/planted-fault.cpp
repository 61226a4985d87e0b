// Deliberate faults that the sanitizer must report: the control for the fuzz tests.
#include <stdlib.h>

extern "C" __attribute__((visibility("default"))) int read_past_end(int size) {
    char* bytes = static_cast<char*>(malloc(size));
    bytes[0] = 1;
    const int value = bytes[size];
    free(bytes);
    return value;
}

extern "C" __attribute__((visibility("default"))) int leak(int size) {
    volatile char* bytes = static_cast<char*>(malloc(size));
    bytes[0] = 1;
    bytes = nullptr;
    return 0;
}
