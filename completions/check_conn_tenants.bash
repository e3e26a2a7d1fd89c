_check_conn_tenants() {
    local i cur prev opts cmds
    COMPREPLY=()
    cur="${COMP_WORDS[COMP_CWORD]}"
    if [[ $COMP_CWORD -ge 1 ]]; then
        prev="${COMP_WORDS[COMP_CWORD-1]}"
    else
        prev=""
    fi
    cmd=""
    opts=""

    for i in ${COMP_WORDS[@]}; do
        case "${i}" in
            check_conn_tenants | */check_conn_tenants)
                cmd="check_conn_tenants"
                ;;
        esac
    done

    case "${cmd}" in
        check_conn_tenants)
            opts="--key --limit --close-wait-age --close-wait-warning --close-wait-critical --close-wait-expected --idle-age --idle-warning --idle-critical --idle-expected --outliers-warning --outliers-critical --outliers-min-count --state-dir --port -p --unix --profile -P --warning -w --critical -c --side --peer --local --user --unit --pid --require-listener --netns --source --proc-root --replay --by --top --output -o --output-file --timeout -t --verbose -v --help -h --version -V --extra-opts"
            case "${prev}" in
                --key)
                    COMPREPLY=()
                    return 0
                    ;;
                --limit)
                    COMPREPLY=()
                    return 0
                    ;;
                --close-wait-age)
                    COMPREPLY=()
                    return 0
                    ;;
                --close-wait-warning)
                    COMPREPLY=()
                    return 0
                    ;;
                --close-wait-critical)
                    COMPREPLY=()
                    return 0
                    ;;
                --close-wait-expected)
                    COMPREPLY=()
                    return 0
                    ;;
                --idle-age)
                    COMPREPLY=()
                    return 0
                    ;;
                --idle-warning)
                    COMPREPLY=()
                    return 0
                    ;;
                --idle-critical)
                    COMPREPLY=()
                    return 0
                    ;;
                --idle-expected)
                    COMPREPLY=()
                    return 0
                    ;;
                --outliers-warning)
                    COMPREPLY=()
                    return 0
                    ;;
                --outliers-critical)
                    COMPREPLY=()
                    return 0
                    ;;
                --outliers-min-count)
                    COMPREPLY=()
                    return 0
                    ;;
                --state-dir)
                    COMPREPLY=()
                    return 0
                    ;;
                --port | -p)
                    COMPREPLY=()
                    return 0
                    ;;
                --unix)
                    COMPREPLY=()
                    return 0
                    ;;
                --profile | -P)
                    COMPREPLY=()
                    return 0
                    ;;
                --warning | -w)
                    COMPREPLY=()
                    return 0
                    ;;
                --critical | -c)
                    COMPREPLY=()
                    return 0
                    ;;
                --side)
                    COMPREPLY=()
                    return 0
                    ;;
                --peer)
                    COMPREPLY=()
                    return 0
                    ;;
                --local)
                    COMPREPLY=()
                    return 0
                    ;;
                --user)
                    COMPREPLY=()
                    return 0
                    ;;
                --unit)
                    COMPREPLY=()
                    return 0
                    ;;
                --pid)
                    COMPREPLY=()
                    return 0
                    ;;
                --require-listener)
                    COMPREPLY=()
                    return 0
                    ;;
                --netns)
                    COMPREPLY=()
                    return 0
                    ;;
                --source)
                    COMPREPLY=()
                    return 0
                    ;;
                --proc-root)
                    COMPREPLY=()
                    return 0
                    ;;
                --replay)
                    COMPREPLY=()
                    return 0
                    ;;
                --by)
                    COMPREPLY=()
                    return 0
                    ;;
                --top)
                    COMPREPLY=()
                    return 0
                    ;;
                --output | -o)
                    COMPREPLY=()
                    return 0
                    ;;
                --output-file)
                    COMPREPLY=()
                    return 0
                    ;;
                --timeout | -t)
                    COMPREPLY=()
                    return 0
                    ;;
                --extra-opts)
                    COMPREPLY=()
                    return 0
                    ;;
                *)
                    COMPREPLY=( $(compgen -W "${opts} ${cmds}" -- "${cur}") )
                    return 0
                    ;;
            esac
            ;;
    esac
}

complete -F _check_conn_tenants -o bashdefault -o default check_conn_tenants
