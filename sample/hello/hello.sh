# Each request runs this in a fresh container: the request is in the environment,
# its body on standard input, and what is printed is the answer.
echo "Hello, ${INPUT_NAME:-world}!"
echo "You asked for $REQUEST_METHOD $SCRIPT_NAME$PATH_INFO, commit ${ZERVERLESS_COMMIT:-none}."
