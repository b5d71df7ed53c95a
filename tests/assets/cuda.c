// Stands in for the library of NVIDIA's driver, for tests: starting it answers the number in the file "cuda" in the working
// folder, or ends the calling process if the file says "crash". Its first card is the second that nvml.c knows.
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

int cuDeviceGet(int *card, int number) { *card = number; return 0; }

int cuDeviceGetPCIBusId(char *text, int length, int card) {
    snprintf(text, length, "0000:%02x:00.0", 11 + card);
    return 0;
}
