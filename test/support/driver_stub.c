// SPDX-License-Identifier: Apache-2.0
// A libcuda.so.1 without a GPU: what it answers stands in the environment.
#include <stdlib.h>
#include <string.h>

static int setting(const char *name, int otherwise) {
    const char *value = getenv(name);
    return value ? atoi(value) : otherwise;
}

int cuInit(unsigned flags) { return setting("STUB_CUINIT", 0); }
int cuDriverGetVersion(int *version) { *version = setting("STUB_VERSION", 99000); return 0; }
int cuDeviceGetCount(int *count) { *count = setting("STUB_COUNT", 1); return 0; }
int cuDeviceGet(int *device, int number) { *device = number; return 0; }
int cuDeviceGetName(char *name, int length, int device) { strncpy(name, "Stub", length); return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) { *value = 9; return 0; }
#ifndef OLD
// The provider is linked with this one; the CUDA runtime misses others.
int cuTensorMapEncodeTiled(void) { return 999; }
#endif
