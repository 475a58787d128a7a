#include <check.h>
#include <stdlib.h>

Suite *decode_suite(void);
Suite *preprocess_suite(void);
Suite *frame_suite(void);

int main(void)
{
    SRunner *runner = srunner_create(decode_suite());
    srunner_add_suite(runner, preprocess_suite());
    srunner_add_suite(runner, frame_suite());
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
