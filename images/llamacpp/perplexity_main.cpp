// In the place of llama.cpp's tools/perplexity/main.cpp. Its log is written by a thread, and common/log.h asks for a flush
// before the end of a program; without one, the last lines, which have the result, are lost now and then, and on a busy
// machine nearly always.
#include "log.h"

int llama_perplexity(int argc, char ** argv);

int main(int argc, char ** argv) {
    const int status = llama_perplexity(argc, argv);
    common_log_flush(common_log_main());
    return status;
}
