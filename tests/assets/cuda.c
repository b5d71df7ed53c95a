// A stub of the CUDA driver for tests: cuInit returns the number in the file "cuda" in the working folder, or ends the calling
// process if the file says "crash". Its first GPU is the second one of nvml.c.
#include <stdio.h>
#include <stdlib.h>

int cuDriverGetVersion(int *version) { *version = 13000; return 0; }

int cuInit(unsigned flags) {
    int code = 0;
    FILE *file = fopen("cuda", "r");
    if (!file) return 0;
    int found = fscanf(file, "%d", &code);
    fclose(file);
    if (found != 1) abort();
    return code + (int)flags;
}

int cuDeviceGet(int *device, int number) { *device = number; return 0; }

int cuDeviceGetPCIBusId(char *text, int length, int device) {
    snprintf(text, length, "0000:%02x:00.0", 11 + device);
    return 0;
}
