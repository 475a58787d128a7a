#include <check.h>
#include <stdlib.h>

Suite *calls_suite(void);
Suite *connection_suite(void);

int main(void)
{
    SRunner *runner = srunner_create(calls_suite());
    srunner_add_suite(runner, connection_suite());
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
