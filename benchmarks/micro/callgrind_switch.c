/* Callgrind's instrumentation, on and off: what lies outside is neither counted nor slowed down. */
#include <valgrind/callgrind.h>

void start(void) { CALLGRIND_START_INSTRUMENTATION; }
void stop(void) { CALLGRIND_STOP_INSTRUMENTATION; }
