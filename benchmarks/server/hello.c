/* The smallest function: one static program in an image with nothing else in it. */
#include <unistd.h>

int main(void) {
    return write(1, "hi\n", 3) == 3 ? 0 : 1;
}
